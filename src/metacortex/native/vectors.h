/* Vectors of REAL, which is float or double, as wide as the processor has them; INTEGER is of the same size. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of a vector, and vectors of a row in sums that are kept in registers: 6 * WIDE of them and WIDE + 1 factors. */
#if defined(__AVX512F__)
#define VECTOR 64
#define WIDE 4
#elif defined(__AVX__)
#define VECTOR 32
#define WIDE 2
#elif defined(__aarch64__)
#define VECTOR 16
#define WIDE 4
#else
#define VECTOR 16
#define WIDE 2
#endif

#define LANES ((int64_t)(VECTOR / sizeof(REAL)))
#define INLINE static inline __attribute__((always_inline))

typedef REAL vec __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));

#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))

/* Numbers of channels must be multiples of this. */
int64_t lanes(void) { return LANES; }
