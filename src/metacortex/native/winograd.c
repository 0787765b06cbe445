/* Convolutions of 3x3 filters with stride 1 by Winograd's algorithm F(4x4, 3x3): 36 products for 16 outputs, not 144.

       Y = A' [ (G g G') . (B' d B) ] A      d: 6x6 tile of the input, g: filter, Y: 4x4 tile of the output

   summed over the input channels inside the brackets, so that there stand 36 matrix products of tiles and channels.
   Images lie channels last. Tiles are taken a few at a time, so that what lies between the steps stays in the cache.

   At the lower and right edge a tile may have two rows or columns of outputs or fewer. There F(2, 3) does, whose four
   points are four of the six (0, 1, -1 and infinity), so that the filters' transform is the same and rows or columns 3 and 4
   of the products are left out.

   Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.3. */

#include "vectors.h"

/* Rows of a product whose sums are kept in registers. */
#define ROWS 6

/* An image size, what a convolution makes of it, and the tiles of that. */
typedef struct {
    int64_t height, width, pad, high, wide, down, across;
} Plan;

INLINE Plan plan(int64_t height, int64_t width, int64_t pad)
{
    int64_t high = height + 2 * pad - 2, wide = width + 2 * pad - 2;
    return (Plan){height, width, pad, high, wide, (high + 3) / 4, (wide + 3) / 4};
}

/* A tile: its image, its first output, and whether it has two rows (low) or columns (narrow) of outputs at most. */
typedef struct {
    int64_t n, top, left;
    int low, narrow;
} Tile;

INLINE Tile tile_at(const Plan *s, int64_t number)
{
    int64_t top = number / s->across % s->down * 4, left = number % s->across * 4;
    return (Tile){number / (s->down * s->across), top, left, top + 2 >= s->high, left + 2 >= s->wide};
}

/* Tiles are sorted by kind, so that those that a product needs lie side by side. */
enum { LOW, WHOLE, NARROW, CORNER };

INLINE int kind(const Tile *t) { return t->low ? (t->narrow ? CORNER : LOW) : (t->narrow ? NARROW : WHOLE); }

/* Where the tiles of each kind begin among `count` of them from `start` on, and where all end. */
INLINE void sort(const Plan *s, int64_t start, int64_t count, int64_t begin[5])
{
    int64_t number[4] = {0};
    for (int64_t i = 0; i < count; i++) {
        Tile t = tile_at(s, start + i);
        number[kind(&t)]++;
    }
    begin[0] = 0;
    for (int k = 0; k < 4; k++)
        begin[k + 1] = begin[k] + number[k];
}

/* The tiles that have product p, 6 rows by 6 columns: from which to which. */
INLINE void needed(int p, const int64_t begin[5], int64_t *from, int64_t *to)
{
    int row = p / 6 == 3 || p / 6 == 4, column = p % 6 == 3 || p % 6 == 4;
    *from = begin[row ? WHOLE : LOW];
    *to = begin[column ? NARROW : row ? CORNER : 4];
}

/* ---- matrix products ---- */

/* c [rows, columns * LANES] = (add ? c : 0) + a [rows, depth] b [depth, columns * LANES] */
INLINE void block(const int rows, const int columns, int64_t depth, const REAL *a, int64_t a_row, int64_t a_step,
    const REAL *b, int64_t b_row, REAL *c, int64_t c_row, const int add)
{
    vec sum[ROWS][WIDE];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < columns; v++)
            sum[r][v] = add ? LOAD(c + r * c_row + v * LANES) : (vec){0};
    for (int64_t k = 0; k < depth; k++) {
        vec right[WIDE];
#pragma GCC unroll 4
        for (int v = 0; v < columns; v++)
            right[v] = LOAD(b + k * b_row + v * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            REAL left = a[r * a_row + k * a_step];
#pragma GCC unroll 4
            for (int v = 0; v < columns; v++)
                sum[r][v] += left * right[v];
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < columns; v++)
            STORE(c + r * c_row + v * LANES, sum[r][v]);
}

INLINE void strip(const int columns, int64_t m, int64_t depth, const REAL *a, int64_t a_row, int64_t a_step,
    const REAL *b, int64_t b_row, REAL *c, int64_t c_row, const int add)
{
    int64_t r = 0;
    for (; r + ROWS <= m; r += ROWS)
        block(ROWS, columns, depth, a + r * a_row, a_row, a_step, b, b_row, c + r * c_row, c_row, add);
    for (; r + 2 <= m; r += 2)
        block(2, columns, depth, a + r * a_row, a_row, a_step, b, b_row, c + r * c_row, c_row, add);
    for (; r < m; r++)
        block(1, columns, depth, a + r * a_row, a_row, a_step, b, b_row, c + r * c_row, c_row, add);
}

/* c [m, n] = (add ? c : 0) + a [m, depth] b [depth, n]; a has any strides */
INLINE void multiply(int64_t m, int64_t n, int64_t depth, const REAL *a, int64_t a_row, int64_t a_step, const REAL *b,
    REAL *c, const int add)
{
    int64_t j = 0;
    for (; j + WIDE * LANES <= n; j += WIDE * LANES)
        strip(WIDE, m, depth, a, a_row, a_step, b + j, n, c + j, n, add);
    for (; j + 2 * LANES <= n; j += 2 * LANES)
        strip(2, m, depth, a, a_row, a_step, b + j, n, c + j, n, add);
    for (; j < n; j += LANES)
        strip(1, m, depth, a, a_row, a_step, b + j, n, c + j, n, add);
}

/* ---- transforms, a vector of channels at a time ---- */

/* B' d of six numbers, B' = [4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1] */
INLINE void enter(vec d0, vec d1, vec d2, vec d3, vec d4, vec d5, vec *out)
{
    vec p = d4 - 4 * d2, q = d3 - 4 * d1, r = d4 - d2, s = 2 * (d3 - d1);
    out[0] = 4 * d0 - 5 * d2 + d4;
    out[1] = p + q;
    out[2] = p - q;
    out[3] = r + s;
    out[4] = r - s;
    out[5] = 4 * d1 - 5 * d3 + d5;
}

/* The same of four numbers, at points 0, 1, -1 and infinity: B' = [4 0 -4 0; 0 -3 -3 0; 0 3 -3 0; 0 -1 0 1] */
INLINE void enter_few(vec d0, vec d1, vec d2, vec d3, vec *out)
{
    out[0] = 4 * (d0 - d2);
    out[1] = -3 * (d1 + d2);
    out[2] = 3 * (d1 - d2);
    out[5] = d3 - d1;
}

/* A' m of six numbers, A' = [1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1] */
INLINE void leave(vec m0, vec m1, vec m2, vec m3, vec m4, vec m5, vec *out)
{
    vec p = m1 + m2, q = m1 - m2, r = m3 + m4, s = m3 - m4;
    out[0] = m0 + p + r;
    out[1] = q + 2 * s;
    out[2] = p + 4 * r;
    out[3] = q + 8 * s + m5;
}

/* The same at four points: A' = [1 1 1 0; 0 1 -1 1] */
INLINE void leave_few(vec m0, vec m1, vec m2, vec m5, vec *out)
{
    out[0] = m0 + m1 + m2;
    out[1] = m1 - m2 + m5;
}

/* A d of four numbers */
INLINE void reenter(vec d0, vec d1, vec d2, vec d3, vec *out)
{
    vec p = d0 + d2, q = d1 + d3, r = d0 + 4 * d2, s = 2 * d1 + 8 * d3;
    out[0] = d0;
    out[1] = p + q;
    out[2] = p - q;
    out[3] = r + s;
    out[4] = r - s;
    out[5] = d3;
}

/* The same of two numbers, at four points */
INLINE void reenter_few(vec d0, vec d1, vec *out)
{
    out[0] = d0;
    out[1] = d0 + d1;
    out[2] = d0 - d1;
    out[5] = d1;
}

/* G g of three numbers, G = [1/4 0 0; -1/6 -1/6 -1/6; -1/6 1/6 -1/6; 1/24 1/12 1/6; 1/24 -1/12 1/6; 0 0 1] */
INLINE void weigh(vec g0, vec g1, vec g2, vec *out)
{
    const REAL sixth = (REAL)1 / 6, twelfth = (REAL)1 / 12, twentyfourth = (REAL)1 / 24;
    vec p = -sixth * (g0 + g2), q = sixth * g1, r = twentyfourth * g0 + sixth * g2, s = twelfth * g1;
    out[0] = (REAL)0.25 * g0;
    out[1] = p - q;
    out[2] = p + q;
    out[3] = r + s;
    out[4] = r - s;
    out[5] = g2;
}

/* G' u of six numbers */
INLINE void unweigh(vec u0, vec u1, vec u2, vec u3, vec u4, vec u5, vec *out)
{
    const REAL sixth = (REAL)1 / 6, twelfth = (REAL)1 / 12, twentyfourth = (REAL)1 / 24;
    vec p = sixth * (u1 + u2), q = sixth * (u2 - u1), r = u3 + u4, s = u3 - u4;
    out[0] = (REAL)0.25 * u0 - p + twentyfourth * r;
    out[1] = q + twelfth * s;
    out[2] = sixth * r - p + u5;
}

static const int POINTS[] = {0, 1, 2, 3, 4, 5}, FEW[] = {0, 1, 2, 5};

/* B' d B of a tile: 36 pointers to [channels]; out [36][step] */
INLINE void enter_tile(const int low, const int narrow, const REAL *const *pixels, int64_t channels, REAL *out,
    int64_t step)
{
    const int *rows = low ? FEW : POINTS, *columns = narrow ? FEW : POINTS, many = low ? 4 : 6, wide = narrow ? 4 : 6;
    for (int64_t c = 0; c < channels; c += LANES) {
        vec t[6][6], o[6];
#pragma GCC unroll 6
        for (int j = 0; j < wide; j++) {
            const REAL *const *from = pixels + j;
            if (low)
                enter_few(LOAD(from[0] + c), LOAD(from[6] + c), LOAD(from[12] + c), LOAD(from[18] + c), t[j]);
            else
                enter(LOAD(from[0] + c), LOAD(from[6] + c), LOAD(from[12] + c), LOAD(from[18] + c), LOAD(from[24] + c),
                    LOAD(from[30] + c), t[j]);
        }
#pragma GCC unroll 6
        for (int k = 0; k < many; k++) {
            const int i = rows[k];
            if (narrow)
                enter_few(t[0][i], t[1][i], t[2][i], t[3][i], o);
            else
                enter(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i], o);
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++)
                STORE(out + (6 * i + columns[j]) * step + c, o[columns[j]]);
        }
    }
}

/* A' m A of a tile: in [36][step]; 16 pointers to [channels], of which those that are not NULL are written to */
INLINE void leave_tile(const int low, const int narrow, const REAL *in, int64_t step, int64_t channels,
    REAL *const *pixels)
{
    const int *columns = narrow ? FEW : POINTS, wide = narrow ? 4 : 6, high = low ? 2 : 4, across = narrow ? 2 : 4;
    for (int64_t c = 0; c < channels; c += LANES) {
        vec t[6][4], o[4];
#pragma GCC unroll 6
        for (int k = 0; k < wide; k++) {
            const int j = columns[k];
            const REAL *m = in + j * step + c;
            if (low)
                leave_few(LOAD(m), LOAD(m + 6 * step), LOAD(m + 12 * step), LOAD(m + 30 * step), t[j]);
            else
                leave(LOAD(m), LOAD(m + 6 * step), LOAD(m + 12 * step), LOAD(m + 18 * step), LOAD(m + 24 * step),
                    LOAD(m + 30 * step), t[j]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < high; i++) {
            if (narrow)
                leave_few(t[0][i], t[1][i], t[2][i], t[5][i], o);
            else
                leave(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i], o);
#pragma GCC unroll 4
            for (int j = 0; j < across; j++)
                if (pixels[4 * i + j])
                    STORE(pixels[4 * i + j] + c, o[j]);
        }
    }
}

/* A d A' of a tile of the output's derivative: 16 pointers to [channels]; out [36][step] */
INLINE void reenter_tile(const int low, const int narrow, const REAL *const *pixels, int64_t channels, REAL *out,
    int64_t step)
{
    const int *rows = low ? FEW : POINTS, *columns = narrow ? FEW : POINTS;
    const int many = low ? 4 : 6, wide = narrow ? 4 : 6, across = narrow ? 2 : 4;
    for (int64_t c = 0; c < channels; c += LANES) {
        vec t[4][6], o[6];
#pragma GCC unroll 4
        for (int j = 0; j < across; j++) {
            const REAL *const *from = pixels + j;
            if (low)
                reenter_few(LOAD(from[0] + c), LOAD(from[4] + c), t[j]);
            else
                reenter(LOAD(from[0] + c), LOAD(from[4] + c), LOAD(from[8] + c), LOAD(from[12] + c), t[j]);
        }
#pragma GCC unroll 6
        for (int k = 0; k < many; k++) {
            const int i = rows[k];
            if (narrow)
                reenter_few(t[0][i], t[1][i], o);
            else
                reenter(t[0][i], t[1][i], t[2][i], t[3][i], o);
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++)
                STORE(out + (6 * i + columns[j]) * step + c, o[columns[j]]);
        }
    }
}

/* A function of tiles for each kind, as loops of known length. */
#define OF_KIND(function, tile, ...)                                                                     \
    switch (kind(&(tile))) {                                                                             \
    case LOW: function(1, 0, __VA_ARGS__); break;                                                        \
    case WHOLE: function(0, 0, __VA_ARGS__); break;                                                      \
    case NARROW: function(0, 1, __VA_ARGS__); break;                                                     \
    default: function(1, 1, __VA_ARGS__);                                                                \
    }

/* Pointers to the size x size pixels from (top, left) of image n; to zeros outside of it. */
static void look(const REAL *x, int64_t n, int64_t top, int64_t left, int64_t height, int64_t width, int64_t channels,
    const REAL *zeros, int size, const REAL **pixels)
{
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            int64_t y = top + i, z = left + j;
            int inside = y >= 0 && y < height && z >= 0 && z < width;
            pixels[size * i + j] = inside ? x + ((n * height + y) * width + z) * channels : zeros;
        }
}

/* Numbers from one of 36 matrices to the next: a vector more than they have, as powers of two apart they would lie in the
   same few places of the first-level cache. */
INLINE int64_t apart(int64_t rows, int64_t columns) { return rows * columns + LANES; }

/* B' d B of `count` tiles from `start` on, sorted by kind: v [36, chunk, in] */
static void enter_all(const REAL *x, const Plan *s, const REAL *zeros, int64_t in, int64_t start, int64_t count,
    const int64_t begin[5], REAL *v, int64_t chunk)
{
    int64_t next[4];
    memcpy(next, begin, sizeof(next));
    for (int64_t i = 0; i < count; i++) {
        Tile t = tile_at(s, start + i);
        int64_t slot = next[kind(&t)]++;
        const REAL *pixels[36];
        look(x, t.n, t.top - s->pad, t.left - s->pad, s->height, s->width, in, zeros, 6, pixels);
        OF_KIND(enter_tile, t, pixels, in, v + slot * in, apart(chunk, in));
    }
}

/* A d A' of the same tiles of the output's derivative: m [36, chunk, out] */
static void reenter_all(const REAL *d, const Plan *s, const REAL *zeros, int64_t out, int64_t start, int64_t count,
    const int64_t begin[5], REAL *m, int64_t chunk)
{
    int64_t next[4];
    memcpy(next, begin, sizeof(next));
    for (int64_t i = 0; i < count; i++) {
        Tile t = tile_at(s, start + i);
        int64_t slot = next[kind(&t)]++;
        const REAL *pixels[16];
        look(d, t.n, t.top, t.left, s->high, s->wide, out, zeros, 4, pixels);
        OF_KIND(reenter_tile, t, pixels, out, m + slot * out, apart(chunk, out));
    }
}

/* A' m A of the same tiles, into the output */
static void leave_all(const REAL *m, const Plan *s, int64_t out, int64_t start, int64_t count, const int64_t begin[5],
    REAL *y, int64_t chunk)
{
    int64_t next[4];
    memcpy(next, begin, sizeof(next));
    for (int64_t k = 0; k < count; k++) {
        Tile t = tile_at(s, start + k);
        int64_t slot = next[kind(&t)]++;
        REAL *pixels[16];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                pixels[4 * i + j] = t.top + i < s->high && t.left + j < s->wide
                    ? y + ((t.n * s->high + t.top + i) * s->wide + t.left + j) * out : NULL;
        OF_KIND(leave_tile, t, m + slot * out, apart(chunk, out), out, pixels);
    }
}

/* ---- what is called from outside ---- */

/* G g G' of all filters: w [out, in, 3, 3] with strides -> u [36, in, out] */
void filters(const REAL *w, int64_t by_out, int64_t by_in, int64_t by_row, int64_t by_column, REAL *u, int64_t in,
    int64_t out)
{
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o += LANES) {
            vec g[3][3], t[3][6], whole[6];
            for (int y = 0; y < 3; y++)
                for (int x = 0; x < 3; x++) {
                    const REAL *from = w + o * by_out + i * by_in + y * by_row + x * by_column;
                    for (int l = 0; l < LANES; l++)
                        g[y][x][l] = from[l * by_out];
                }
            for (int x = 0; x < 3; x++)
                weigh(g[0][x], g[1][x], g[2][x], t[x]);
            for (int y = 0; y < 6; y++) {
                weigh(t[0][y], t[1][y], t[2][y], whole);
                for (int x = 0; x < 6; x++)
                    STORE(u + (6 * y + x) * apart(in, out) + i * out + o, whole[x]);
            }
        }
}

/* Its adjoint G' u G: u [36, in, out] -> w [out, in, 3, 3] with strides */
void unfilter(const REAL *u, REAL *w, int64_t by_out, int64_t by_in, int64_t by_row, int64_t by_column, int64_t in,
    int64_t out)
{
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o += LANES) {
            vec t[6][3], g[3];
            for (int x = 0; x < 6; x++) {
                const REAL *from = u + x * apart(in, out) + i * out + o;
                int64_t step = 6 * apart(in, out);
                unweigh(LOAD(from), LOAD(from + step), LOAD(from + 2 * step), LOAD(from + 3 * step),
                    LOAD(from + 4 * step), LOAD(from + 5 * step), t[x]);
            }
            for (int y = 0; y < 3; y++) {
                unweigh(t[0][y], t[1][y], t[2][y], t[3][y], t[4][y], t[5][y], g);
                for (int x = 0; x < 3; x++)
                    for (int l = 0; l < LANES; l++)
                        w[(o + l) * by_out + i * by_in + y * by_row + x * by_column] = g[x][l];
            }
        }
}

/* x [N, height, width, in], u [36, in, out] -> tiles first to last of y [N, height + 2 pad - 2, width + 2 pad - 2, out] */
void convolve(const REAL *x, const REAL *u, REAL *y, REAL *memory, int64_t height, int64_t width, int64_t pad,
    int64_t in, int64_t out, int64_t first, int64_t last, int64_t chunk)
{
    Plan s = plan(height, width, pad);
    int64_t larger = in > out ? in : out, begin[5], from, to;
    REAL *zeros = memory, *v = zeros + larger, *m = v + 36 * apart(chunk, in);
    memset(zeros, 0, larger * sizeof(REAL));
    for (int64_t start = first; start < last; start += chunk) {
        int64_t count = last - start < chunk ? last - start : chunk;
        sort(&s, start, count, begin);
        enter_all(x, &s, zeros, in, start, count, begin, v, chunk);
        for (int p = 0; p < 36; p++) {
            needed(p, begin, &from, &to);
            multiply(to - from, out, in, v + p * apart(chunk, in) + from * in, in, 1, u + p * apart(in, out),
                m + p * apart(chunk, out) + from * out, 0);
        }
        leave_all(m, &s, out, start, count, begin, y, chunk);
    }
}

/* x [N, height, width, in], d of the shape of convolve's y -> u [36, in, out], of tiles first to last */
void correlate(const REAL *x, const REAL *d, REAL *u, REAL *memory, int64_t height, int64_t width, int64_t pad,
    int64_t in, int64_t out, int64_t first, int64_t last, int64_t chunk)
{
    Plan s = plan(height, width, pad);
    int64_t larger = in > out ? in : out, begin[5], from, to;
    REAL *zeros = memory, *v = zeros + larger, *m = v + 36 * apart(chunk, in);
    memset(zeros, 0, larger * sizeof(REAL));
    for (int64_t start = first; start < last; start += chunk) {
        int64_t count = last - start < chunk ? last - start : chunk;
        sort(&s, start, count, begin);
        enter_all(x, &s, zeros, in, start, count, begin, v, chunk);
        reenter_all(d, &s, zeros, out, start, count, begin, m, chunk);
        for (int p = 0; p < 36; p++) {
            needed(p, begin, &from, &to);
            const REAL *left = v + p * apart(chunk, in) + from * in, *right = m + p * apart(chunk, out) + from * out;
            if (start == first)
                multiply(in, out, to - from, left, 1, in, right, u + p * apart(in, out), 0);
            else
                multiply(in, out, to - from, left, 1, in, right, u + p * apart(in, out), 1);
        }
    }
}
