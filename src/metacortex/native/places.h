/* Which of the four places under a 2x2 maximum won. */

#include "vectors.h"

/* What comparing vectors gives, -1 where true: an integer for each number, of its size. */
typedef INTEGER ints __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
typedef int8_t bytes __attribute__((vector_size(VECTOR / sizeof(REAL)), aligned(1), may_alias));

#define CLOSED 4

INLINE vec chosen(ints condition, vec yes, vec no)
{
    return (vec)((condition & (ints)yes) | (~condition & (ints)no));
}

/* Shapes: of the patches, of the outputs. */
typedef struct {
    int64_t depth, plane, height, width, high, wide, filters;
} Shape;

/* for each output of images first to last, in order: its patches, and where it lies */
#define EACH_OUTPUT(s, first, last, patches, out)                                                        \
    for (int64_t n = first; n < last; n++)                                                               \
        for (int64_t i = 0; i < (s).high; i++)                                                           \
            for (int64_t j = 0, out = (n * (s).high + i) * (s).wide * (s).filters,                       \
                         patches = (n * (s).height + 2 * i) * (s).width;                                 \
                j < (s).wide; j++, out += (s).filters, patches += 2)

INLINE Shape shape(int64_t depth, int64_t images, int64_t height, int64_t width, int64_t filters)
{
    return (Shape){depth, images * height * width, height, width, height / 2, width / 2, filters};
}

/* the values under an output */
INLINE void at_four(const REAL *x, int64_t at, const Shape *s, vec four[4])
{
    int64_t down = s->width * s->filters;
    four[0] = LOAD(x + at);
    four[1] = LOAD(x + at + s->filters);
    four[2] = LOAD(x + at + down);
    four[3] = LOAD(x + at + down + s->filters);
}

/* max(0, the largest of four), and which it was */
INLINE vec best_of(const vec values[4], int8_t *places)
{
    vec best = values[0];
    ints place = {0};
#pragma GCC unroll 4
    for (int k = 1; k < 4; k++) {
        vec next = values[k];
        ints better = (next > best) | (next != next); /* what is not a number must not be lost */
        best = chosen(better, next, best);
        place = (better & k) | (~better & place);
    }
    ints closed = best <= (vec){0};
    place = (closed & CLOSED) | (~closed & place);
    *(bytes *)places = __builtin_convertvector(place, bytes);
    return chosen(closed, (vec){0}, best);
}

/* the one of four that is named, or zero */
INLINE vec at_place(const vec values[4], const int8_t *places)
{
    ints place = __builtin_convertvector(*(const bytes *)places, ints);
    vec found = (vec){0};
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        found = chosen(place == k, values[k], found);
    return found;
}

/* a slope where the ReLU is open */
INLINE vec open_only(vec slope, const int8_t *places)
{
    return chosen(__builtin_convertvector(*(const bytes *)places, ints) != CLOSED, slope, (vec){0});
}
