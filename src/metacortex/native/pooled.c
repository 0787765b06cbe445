/* ReLU of the 2x2 maxima of a linear map of patches, and what its derivatives need.

       y = max(0, max over four places of w p + b)

   Patches are columns [depth, N, height, width], outputs lie channels last: [N, height / 2, width / 2, filters]. Which of
   the four places won is a byte for each output, 4 where the ReLU closes. Nothing of full size is written. */

#include "places.h"

/* w p + b at the four places of an output, for columns * LANES filters; w [depth + 1, filters], the last row b */
INLINE void four(const int columns, int64_t depth, const REAL *w, const REAL *patches, const Shape *s,
    vec sum[WIDE][4])
{
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
#pragma GCC unroll 4
        for (int v = 0; v < columns; v++)
            sum[v][k] = LOAD(w + depth * s->filters + v * LANES);
    for (int64_t d = 0; d < depth; d++) {
        const REAL *at = patches + d * s->plane;
        REAL left[4] = {at[0], at[1], at[s->width], at[s->width + 1]};
        vec right[WIDE];
#pragma GCC unroll 4
        for (int v = 0; v < columns; v++)
            right[v] = LOAD(w + d * s->filters + v * LANES);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
#pragma GCC unroll 4
            for (int v = 0; v < columns; v++)
                sum[v][k] += left[k] * right[v];
    }
}

INLINE void strongest(const int columns, int64_t depth, const REAL *w, const REAL *patches, const Shape *s, REAL *y,
    int8_t *places)
{
    vec sum[WIDE][4];
    four(columns, depth, w, patches, s, sum);
#pragma GCC unroll 4
    for (int v = 0; v < columns; v++)
        STORE(y + v * LANES, best_of(sum[v], places + v * LANES));
}

INLINE void picked(const int columns, int64_t depth, const REAL *w, const REAL *patches, const Shape *s, REAL *y,
    const int8_t *places)
{
    vec sum[WIDE][4];
    four(columns, depth, w, patches, s, sum);
#pragma GCC unroll 4
    for (int v = 0; v < columns; v++)
        STORE(y + v * LANES, at_place(sum[v], places + v * LANES));
}

#define ALL_FILTERS(function, depth)                                                                  \
    {                                                                                                    \
        int64_t f = 0;                                                                                   \
        for (; f + WIDE * LANES <= s.filters; f += WIDE * LANES)                                         \
            function(WIDE, depth, w + f, columns + patch, &s, y + out + f, places + out + f);            \
        for (; f < s.filters; f += LANES)                                                                \
            function(1, depth, w + f, columns + patch, &s, y + out + f, places + out + f);               \
    }

/* The function at each output; patches of grey images, 9 numbers, as loops of known length. */
#define ALL_OUTPUTS(function)                                                                            \
    Shape s = shape(depth, images, height, width, filters);                                              \
    if (depth == 9)                                                                                      \
        EACH_OUTPUT(s, first, last, patch, out) ALL_FILTERS(function, 9)                                 \
    else                                                                                                 \
        EACH_OUTPUT(s, first, last, patch, out) ALL_FILTERS(function, depth)

/* columns, w [depth + 1, filters] -> y and places, for images first to last */
void pool(const REAL *columns, const REAL *w, REAL *y, int8_t *places, int64_t depth, int64_t images, int64_t height,
    int64_t width, int64_t filters, int64_t first, int64_t last)
{
    ALL_OUTPUTS(strongest)
}

/* the same at places that are given */
void pick(const REAL *columns, const REAL *w, REAL *y, int8_t *places, int64_t depth, int64_t images, int64_t height,
    int64_t width, int64_t filters, int64_t first, int64_t last)
{
    ALL_OUTPUTS(picked)
}

INLINE void gather(int64_t depth, const Shape *s, const REAL *columns, REAL *w, const REAL *slopes,
    const int8_t *places, int64_t first, int64_t last, vec *sum)
{
    for (int64_t f = 0; f < s->filters; f += LANES) {
        for (int64_t d = 0; d <= depth; d++)
            sum[d] = (vec){0};
        EACH_OUTPUT(*s, first, last, patch, out) {
            vec slope = LOAD(slopes + out + f);
            ints place = __builtin_convertvector(*(const bytes *)(places + out + f), ints);
            vec part[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++)
                part[k] = chosen(place == k, slope, (vec){0});
            const REAL *at = columns + patch;
#pragma GCC unroll 27
            for (int64_t d = 0; d < depth; d++, at += s->plane)
                sum[d] += at[0] * part[0] + at[1] * part[1] + at[s->width] * part[2] + at[s->width + 1] * part[3];
            sum[depth] += (part[0] + part[1]) + (part[2] + part[3]);
        }
        for (int64_t d = 0; d <= depth; d++)
            STORE(w + d * s->filters + f, sum[d]);
    }
}

/* the adjoint of pick in w: slopes as y -> w [depth + 1, filters], from images first to last; memory: depth + 1 vectors */
void collect(const REAL *columns, REAL *w, const REAL *slopes, const int8_t *places, REAL *memory, int64_t depth,
    int64_t images, int64_t height, int64_t width, int64_t filters, int64_t first, int64_t last)
{
    Shape s = shape(depth, images, height, width, filters);
    vec few[28]; /* 3x3 patches of grey and of colour images stay in registers, which loops of unknown length cannot */
    if (depth == 9)
        gather(9, &s, columns, w, slopes, places, first, last, few);
    else if (depth == 27)
        gather(27, &s, columns, w, slopes, places, first, last, few);
    else
        gather(depth, &s, columns, w, slopes, places, first, last, (vec *)memory);
}

/* ---- statistics of patches: columns [depth, count] ---- */

/* Values at a time, of which some tens of rows stay in a first-level cache, and rows whose products are kept in registers. */
#define STRETCH 512
#define ROWS 3

/* sums [depth], of the values first to last */
void sum_columns(const REAL *columns, REAL *sums, int64_t depth, int64_t count, int64_t first, int64_t last)
{
    for (int64_t d = 0; d < depth; d++) {
        double sum = 0;
        for (int64_t start = first; start < last; start += STRETCH) {
            int64_t end = start + STRETCH < last ? start + STRETCH : last, k = start;
            const REAL *x = columns + d * count;
            vec part[4] = {{0}};
            for (; k + 4 * LANES <= end; k += 4 * LANES)
                for (int v = 0; v < 4; v++)
                    part[v] += LOAD(x + k + v * LANES);
            part[0] += part[1] + (part[2] + part[3]);
            for (int l = 0; l < LANES; l++)
                sum += part[0][l];
            for (; k < end; k++)
                sum += x[k];
        }
        sums[d] = sum;
    }
}

/* products [rows, columns] += x y', of two pairs of rows of `values` numbers with a step between rows */
INLINE void add_products(const int rows, const int columns, const REAL *x, const REAL *y, int64_t step, int64_t values,
    REAL *products, int64_t depth)
{
    vec sum[ROWS][ROWS] = {{{0}}};
    int64_t k = 0;
    for (; k + LANES <= values; k += LANES)
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
            for (int c = 0; c < columns; c++)
                sum[r][c] += LOAD(x + r * step + k) * LOAD(y + c * step + k);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            REAL total = 0;
            for (int l = 0; l < LANES; l++)
                total += sum[r][c][l];
            for (int64_t i = k; i < values; i++)
                total += x[r * step + i] * y[c * step + i];
            products[r * depth + c] += total;
        }
}

/* Takes the centre [depth] away from the values first to last; products [depth, depth], of what is left. */
void centre_columns(REAL *columns, const REAL *centre, REAL *products, int64_t depth, int64_t count, int64_t first,
    int64_t last)
{
    memset(products, 0, depth * depth * sizeof(REAL));
    for (int64_t start = first; start < last; start += STRETCH) {
        int64_t values = last - start < STRETCH ? last - start : STRETCH;
        REAL *x = columns + start;
        for (int64_t d = 0; d < depth; d++)
            for (int64_t k = 0; k < values; k++)
                x[d * count + k] -= centre[d];
        for (int64_t r = 0; r < depth;) {
            int64_t rows = depth - r < ROWS ? 1 : ROWS;
            for (int64_t c = r; c < depth;) {
                int64_t wide = depth - c < ROWS ? 1 : ROWS;
                const REAL *left = x + r * count, *right = x + c * count;
                REAL *to = products + r * depth + c;
                if (rows == ROWS && wide == ROWS)
                    add_products(ROWS, ROWS, left, right, count, values, to, depth);
                else
                    for (int64_t i = 0; i < rows; i++)
                        add_products(1, wide == ROWS ? ROWS : 1, left + i * count, right, count, values, to + i * depth,
                            depth);
                c += wide;
            }
            r += rows;
        }
    }
    for (int64_t r = 0; r < depth; r++)
        for (int64_t c = 0; c < r; c++)
            products[r * depth + c] = products[c * depth + r];
}

/* ---- the same of values that are there: x [N, height, width, channels] ---- */

/* y = max(0, max over four places of x), and places, for images first to last */
void pool_values(const REAL *x, REAL *y, int8_t *places, int64_t height, int64_t width, int64_t channels,
    int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4];
            at_four(x, patch * channels + c, &s, values);
            STORE(y + out + c, best_of(values, places + out + c));
        }
}

/* y = x at places */
void pick_values(const REAL *x, REAL *y, const int8_t *places, int64_t height, int64_t width, int64_t channels,
    int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4];
            at_four(x, patch * channels + c, &s, values);
            STORE(y + out + c, at_place(values, places + out + c));
        }
}

/* its adjoint: y at places, zero elsewhere -> x */
void scatter_values(REAL *x, const REAL *y, const int8_t *places, int64_t height, int64_t width, int64_t channels,
    int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    if (height % 2 || width % 2) /* a row and a column that are pooled nowhere */
        memset(x + first * height * width * channels, 0, (last - first) * height * width * channels * sizeof(REAL));
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec slope = LOAD(y + out + c);
            ints place = __builtin_convertvector(*(const bytes *)(places + out + c), ints);
            REAL *to = x + patch * channels + c;
            STORE(to, chosen(place == 0, slope, (vec){0}));
            STORE(to + channels, chosen(place == 1, slope, (vec){0}));
            STORE(to + width * channels, chosen(place == 2, slope, (vec){0}));
            STORE(to + (width + 1) * channels, chosen(place == 3, slope, (vec){0}));
        }
}
