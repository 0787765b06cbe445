/* Batch norm, ReLU and 2x2 maxima as one, to the second derivative, in as few passes over the data as there can be.

       n = (z - mean) r,  y = max(0, max over four places of n weight + bias)

   Images z [N, height, width, channels] lie channels last, outputs likewise with half the side. Which of the four places
   won is a byte for each output, 4 where the ReLU closes: slopes g of y stand for G, which is g there and zero elsewhere. */

#include "places.h"

#define BLOCK 64

/* What belongs to a layer, a number a channel each: mean, variance, r = 1 / sqrt(variance + eps) and a = weight r. */
enum { MEAN, VARIANCE, R, A };

/* sums [2, channels]: of h, and of h (z - centre), of rows first to last; h is z - centre itself where it is `own`.
   Short blocks are summed first, so that rounding does not grow with the rows. */
INLINE void moments_of(const int own, const REAL *h, const REAL *z, const REAL *centre, REAL *sums, int64_t channels,
    int64_t first, int64_t last)
{
    REAL *products = sums + channels;
    memset(sums, 0, 2 * channels * sizeof(REAL));
    for (int64_t start = first; start < last; start += BLOCK) {
        int64_t end = start + BLOCK < last ? start + BLOCK : last;
        for (int64_t c = 0; c < channels; c += LANES) {
            vec one = {0}, two = {0}, middle = LOAD(centre + c);
            for (int64_t row = start; row < end; row++) {
                vec away = LOAD(z + row * channels + c) - middle, x = own ? away : LOAD(h + row * channels + c);
                one += x;
                two += x * away;
            }
            STORE(sums + c, LOAD(sums + c) + one);
            STORE(products + c, LOAD(products + c) + two);
        }
    }
}

/* sums: of z - pivot and of its square; the pivot, so that no digits cancel in the squares, is the first pixel */
void moments(const REAL *z, REAL *sums, int64_t channels, int64_t first, int64_t last)
{
    moments_of(1, NULL, z, z, sums, channels, first, last);
}

/* sums: of h, and of h (z - mean) */
void moments_with(const REAL *h, const REAL *z, const REAL *layer, REAL *sums, int64_t channels, int64_t first,
    int64_t last)
{
    moments_of(0, h, z, layer, sums, channels, first, last);
}

/* what belongs to the layer, from the sums of moments over all rows */
void standard(const REAL *z, const REAL *sums, const REAL *weight, REAL *layer, int64_t rows, double eps, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        double one = sums[c] / rows, var = sums[channels + c] / rows - one * one;
        var = var < 0 ? 0 : var; /* what is not a number stays so */
        double r = 1 / __builtin_sqrt(var + eps);
        layer[MEAN * channels + c] = z[c] + one;
        layer[VARIANCE * channels + c] = var;
        layer[R * channels + c] = r;
        layer[A * channels + c] = weight[c] * r;
    }
}

/* z -> y and places: max(0, max of (z - mean) a + bias) */
void pool_normed(const REAL *z, const REAL *layer, const REAL *bias, REAL *y, int8_t *places, int64_t height,
    int64_t width, int64_t channels, int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    const REAL *mean = layer, *scale = layer + A * channels;
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4];
            at_four(z, patch * channels + c, &s, values);
            for (int k = 0; k < 4; k++)
                values[k] = (values[k] - LOAD(mean + c)) * LOAD(scale + c) + LOAD(bias + c);
            STORE(y + out + c, best_of(values, places + out + c));
        }
}

/* sums [2, channels]: of G, and of G (z - mean), whose terms are a quarter as many */
void slopes_of(const REAL *g, const int8_t *places, const REAL *z, const REAL *mean, REAL *sums, int64_t height,
    int64_t width, int64_t channels, int64_t first, int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    REAL *products = sums + channels;
    memset(sums, 0, 2 * channels * sizeof(REAL));
    EACH_OUTPUT(s, first, last, patch, out)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4], slope = open_only(LOAD(g + out + c), places + out + c);
            at_four(z, patch * channels + c, &s, values);
            vec at = at_place(values, places + out + c) - LOAD(mean + c);
            STORE(sums + c, LOAD(sums + c) + slope);
            STORE(products + c, LOAD(products + c) + slope * at);
        }
}

/* What spread_slopes multiplies with, a number a channel each; pick_slopes reads the middle ones and the last. */
enum { OF_G, OF_H, OF_Z, CONSTANT };

/* Of the derivative by z, from sums S and T / r over all rows; T takes the place of the latter. */
void first_factors(const REAL *layer, REAL *sums, REAL *factors, int64_t rows, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        REAL r = layer[R * channels + c], a = layer[A * channels + c], t = sums[channels + c] * r;
        sums[channels + c] = t;
        factors[OF_G * channels + c] = a;
        factors[OF_Z * channels + c] = -a * t * r / rows;
        factors[CONSTANT * channels + c] = -a * sums[c] / rows;
    }
}

/* Of the second derivative by g, from sums A and B / r, of which B takes the place, and slopes of the derivatives by weight
   and bias. */
void second_factors(const REAL *layer, REAL *sums, const REAL *of_weight, const REAL *of_bias, REAL *factors,
    int64_t rows, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        REAL r = layer[R * channels + c], a = layer[A * channels + c], b = sums[channels + c] * r;
        sums[channels + c] = b;
        factors[OF_H * channels + c] = a;
        factors[OF_Z * channels + c] = (of_weight[c] - a * b / rows) * r;
        factors[CONSTANT * channels + c] = of_bias[c] - a * sums[c] / rows;
    }
}

/* Of that by z, and that by weight, from sums S and T, A and B, that of h G, and the factors before. */
void third_factors(const REAL *layer, const REAL *of_g, const REAL *of_h, const REAL *product, REAL *factors,
    REAL *by_weight, int64_t rows, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        REAL r = layer[R * channels + c], a = layer[A * channels + c], rp = factors[OF_Z * channels + c];
        REAL s = of_g[c], t = of_g[channels + c], all = of_h[c], b = of_h[channels + c];
        REAL da = product[c] - (b * t + all * s) / rows, dn_h = -a * t / rows;
        factors[OF_G * channels + c] = rp;
        factors[OF_H * channels + c] = r * dn_h;
        factors[OF_Z * channels + c] = -r * (r * (dn_h * b + a * da) + rp * t) / rows;
        factors[CONSTANT * channels + c] = -(r * dn_h * all + rp * s) / rows;
        by_weight[c] = r * da;
    }
}

/* out = G of_g + h of_h + (z - mean) of_z + constant, h may be NULL */
void spread_slopes(const REAL *g, const int8_t *places, const REAL *h, const REAL *z, const REAL *mean,
    const REAL *factors, REAL *out, int64_t height, int64_t width, int64_t channels, int64_t first, int64_t last)
{
    const REAL *of_g = factors + OF_G * channels, *of_h = factors + OF_H * channels, *of_z = factors + OF_Z * channels;
    const REAL *constant = factors + CONSTANT * channels;
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

/* at the places: out = h of_h + (z - mean) of_z + constant, zero where closed; product [channels] = sum of g h */
void pick_slopes(const REAL *g, const int8_t *places, const REAL *h, const REAL *z, const REAL *mean,
    const REAL *factors, REAL *out, REAL *product, int64_t height, int64_t width, int64_t channels, int64_t first,
    int64_t last)
{
    Shape s = shape(0, 0, height, width, channels);
    const REAL *of_h = factors + OF_H * channels, *of_z = factors + OF_Z * channels;
    const REAL *constant = factors + CONSTANT * channels;
    memset(product, 0, channels * sizeof(REAL));
    EACH_OUTPUT(s, first, last, patch, to)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec values[4];
            at_four(h, patch * channels + c, &s, values);
            vec of = at_place(values, places + to + c);
            at_four(z, patch * channels + c, &s, values);
            vec at = at_place(values, places + to + c) - LOAD(mean + c);
            vec x = of * LOAD(of_h + c) + at * LOAD(of_z + c) + LOAD(constant + c);
            STORE(out + to + c, open_only(x, places + to + c));
            STORE(product + c, LOAD(product + c) + open_only(LOAD(g + to + c), places + to + c) * of);
        }
}
