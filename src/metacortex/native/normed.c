/* Batch norm, ReLU and 2x2 maxima as one, to the second derivative, in as few passes over the data as there can be.

       n = (z - mean) r,  y = max(0, max over four places of n weight + bias)

   Images z [N, height, width, channels] lie channels last, outputs likewise with half the side. Which of the four places
   won is a byte for each output, 4 where the ReLU closes: slopes g of y stand for G, which is g there and zero elsewhere. */

#include "places.h"

#define BLOCK 64

/* sum and products [channels]: of h, and of h (z - centre), of rows first to last; h is z - centre itself where it is `own`.
   Short blocks are summed first, so that rounding does not grow with the rows. */
INLINE void moments_of(const int own, const REAL *h, const REAL *z, const REAL *centre, REAL *sum, REAL *products,
    int64_t channels, int64_t first, int64_t last)
{
    for (int64_t c = 0; c < channels; c += LANES) {
        STORE(sum + c, (vec){0});
        STORE(products + c, (vec){0});
    }
    for (int64_t start = first; start < last; start += BLOCK) {
        int64_t end = start + BLOCK < last ? start + BLOCK : last;
        for (int64_t c = 0; c < channels; c += LANES) {
            vec one = {0}, two = {0}, middle = LOAD(centre + c);
            for (int64_t row = start; row < end; row++) {
                vec away = LOAD(z + row * channels + c) - middle, x = own ? away : LOAD(h + row * channels + c);
                one += x;
                two += x * away;
            }
            STORE(sum + c, LOAD(sum + c) + one);
            STORE(products + c, LOAD(products + c) + two);
        }
    }
}

/* sum and squares: of z - pivot and of its square */
void moments(const REAL *z, const REAL *pivot, REAL *sum, REAL *squares, int64_t channels, int64_t first, int64_t last)
{
    moments_of(1, NULL, z, pivot, sum, squares, channels, first, last);
}

/* sum and products: of h, and of h (z - mean) */
void moments_with(const REAL *h, const REAL *z, const REAL *mean, REAL *sum, REAL *products, int64_t channels,
    int64_t first, int64_t last)
{
    moments_of(0, h, z, mean, sum, products, channels, first, last);
}

/* z -> y and places: max(0, max of (z - mean) scale + bias) */
void pool_normed(const REAL *z, const REAL *mean, const REAL *scale, const REAL *bias, REAL *y, int8_t *places,
    int64_t height, int64_t width, int64_t channels, int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4];
            at_four(z, patch * channels + c, &s, values);
            for (int k = 0; k < 4; k++)
                values[k] = (values[k] - LOAD(mean + c)) * LOAD(scale + c) + LOAD(bias + c);
            STORE(y + out + c, best_of(values, places + out + c));
        }
}

/* sum and products [channels]: of G, and of G (z - mean), whose terms are a quarter as many */
void slopes_of(const REAL *g, const int8_t *places, const REAL *z, const REAL *mean, REAL *sum, REAL *products,
    int64_t height, int64_t width, int64_t channels, int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    for (int64_t c = 0; c < channels; c += LANES)
        STORE(sum + c, (vec){0}), STORE(products + c, (vec){0});
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4], slope = open_only(LOAD(g + out + c), places + out + c);
            at_four(z, patch * channels + c, &s, values);
            vec at = at_place(values, places + out + c) - LOAD(mean + c);
            STORE(sum + c, LOAD(sum + c) + slope);
            STORE(products + c, LOAD(products + c) + slope * at);
        }
}

/* out = G of_g + h of_h + (z - mean) of_z + constant, h may be NULL */
void spread_slopes(const REAL *g, const int8_t *places, const REAL *h, const REAL *z, const REAL *mean, const REAL *of_g,
    const REAL *of_h, const REAL *of_z, const REAL *constant, REAL *out, int64_t height, int64_t width, int64_t channels,
    int64_t first, int64_t last)
{
    int64_t high = height / 2, wide = width / 2;
    for (int64_t n = first; n < last; n++)
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++) {
                int64_t at = ((n * height + i) * width + j) * channels, k = 2 * (i % 2) + j % 2;
                int64_t from = ((n * high + i / 2) * wide + j / 2) * channels;
                int pooled = i / 2 < high && j / 2 < wide;
                for (int64_t c = 0; c < channels; c += LANES) {
                    vec x = (LOAD(z + at + c) - LOAD(mean + c)) * LOAD(of_z + c) + LOAD(constant + c);
                    if (h)
                        x += LOAD(h + at + c) * LOAD(of_h + c);
                    if (pooled) {
                        ints place = __builtin_convertvector(*(const bytes *)(places + from + c), ints);
                        x += chosen(place == (INTEGER)k, LOAD(g + from + c) * LOAD(of_g + c), (vec){0});
                    }
                    STORE(out + at + c, x);
                }
            }
}

/* at the places: out = h of_h + (z - mean) of_z + constant, zero where closed; products [channels] = sum of g h */
void pick_slopes(const REAL *g, const int8_t *places, const REAL *h, const REAL *z, const REAL *mean, const REAL *of_h,
    const REAL *of_z, const REAL *constant, REAL *out, REAL *products, int64_t height, int64_t width, int64_t channels,
    int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    for (int64_t c = 0; c < channels; c += LANES)
        STORE(products + c, (vec){0});
    EACH_OUTPUT(s, first, last, patch, to)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4];
            at_four(h, patch * channels + c, &s, values);
            vec of = at_place(values, places + to + c);
            at_four(z, patch * channels + c, &s, values);
            vec at = at_place(values, places + to + c) - LOAD(mean + c);
            vec x = of * LOAD(of_h + c) + at * LOAD(of_z + c) + LOAD(constant + c);
            STORE(out + to + c, open_only(x, places + to + c));
            STORE(products + c, LOAD(products + c) + open_only(LOAD(g + to + c), places + to + c) * of);
        }
}
