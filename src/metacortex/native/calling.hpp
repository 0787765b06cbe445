/* Calling the kernels of this folder on tensors: their addresses, threads that share the work, and memory. */

#include <dlfcn.h>
#include <pthread.h>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace {

using at::Tensor;

/* ---- the functions ---- */

#define KERNELS(each)                                                                                    \
    each(lanes)                                                                                          \
    /* winograd.c */                                                                                     \
    each(filters) each(unfilter) each(convolve) each(correlate)                                          \
    /* normed.c */                                                                                       \
    each(moments) each(moments_with) each(standard) each(pool_normed) each(slopes_of)                    \
    each(first_factors) each(second_factors) each(third_factors) each(spread_slopes) each(pick_slopes)   \
    /* pooled.c */                                                                                       \
    each(pool) each(pick) each(collect) each(sum_columns) each(centre_columns)                           \
    each(pool_values) each(pick_values) each(scatter_values)

#define ENTRY(name) name,
#define NAME(name) #name,
enum class Kernel { KERNELS(ENTRY) number };
constexpr const char *names[] = {KERNELS(NAME)};
#undef ENTRY
#undef NAME

void *functions[2][int(Kernel::number)];

/* Look up the functions of a library, which was compiled for single or for double precision. */
void use(std::string path, bool twofold)
{
    void *library = dlopen(path.c_str(), RTLD_NOW);
    TORCH_CHECK(library, dlerror());
    for (int k = 0; k < int(Kernel::number); k++)
        if (void *found = dlsym(library, names[k]))
            functions[twofold][k] = found;
}

void *function(Kernel kernel, const Tensor &like)
{
    auto type = like.scalar_type();
    TORCH_CHECK_TYPE(type == at::kFloat || type == at::kDouble, "there are no kernels for ", type);
    void *found = functions[type == at::kDouble][int(kernel)];
    TORCH_CHECK(found, "the kernels for ", type, " have not been loaded");
    return found;
}

/* Addresses say nothing of what lies there: the last place to refuse what a kernel would misread. */
void check(const Tensor &like, std::initializer_list<Tensor> others)
{
    TORCH_CHECK_TYPE(like.is_cpu() || like.is_meta(), "a kernel for a CPU got a tensor on ", like.device());
    for (const Tensor &x : others)
        TORCH_CHECK_TYPE(x.scalar_type() == like.scalar_type() && x.device() == like.device(), "a kernel for ",
            like.scalar_type(), " on ", like.device(), " got ", x.scalar_type(), " on ", x.device());
}

/* What a kernel is given: addresses, whole numbers and numbers; an undefined tensor is NULL. */
void *word(const Tensor &x)
{
    if (!x.defined())
        return nullptr;
    TORCH_CHECK(!x.key_set().has(c10::DispatchKey::Python), "a kernel got what only stands for a tensor");
    return x.data_ptr();
}
void *word(void *x) { return x; }
int64_t word(int64_t x) { return x; }
double word(double x) { return x; }

/* Call the kernel for the type of numbers of `like`; nothing is done for tensors without data. */
template <class... Given> void call(Kernel kernel, const Tensor &like, const Given &...given)
{
    if (!like.is_meta())
        reinterpret_cast<void (*)(decltype(word(given))...)>(function(kernel, like))(word(given)...);
}

/* Numbers of channels are multiples of this. */
int64_t lanes(const Tensor &like) { return reinterpret_cast<int64_t (*)()>(function(Kernel::lanes, like))(); }

/* ---- threads ---- */

bool finely = false;

/* A forked process has none of OpenMP's threads, and would wait for them. */
bool forked = false;
const int watched = pthread_atfork(nullptr, nullptr, [] { forked = true; });

/* Shares of so many pieces of work, where a thread pays from `fewest` on (in tests, which are small, from one on). */
int64_t shares(int64_t count, int64_t fewest)
{
    int64_t threads = forked || at::in_parallel_region() ? 1 : at::get_num_threads();
    return std::max<int64_t>(1, std::min(threads, count / (finely ? 1 : std::max<int64_t>(fewest, 1))));
}

/* share(k, first, last) for each of a number of shares */
template <class Share> void deal(int64_t number, int64_t count, const Share &share)
{
    if (number == 1)
        return share(0, 0, count);
    at::parallel_for(0, number, 1, [&](int64_t from, int64_t to) {
        for (int64_t k = from; k < to; k++)
            share(k, count * k / number, count * (k + 1) / number);
    });
}

/* The sum of what share(k, room, first, last) writes for each share, into room of its own of this size */
template <class Share>
Tensor summed(const Tensor &like, at::IntArrayRef size, int64_t number, int64_t count, const Share &share)
{
    std::vector<Tensor> parts;
    for (int64_t k = 0; k < number; k++)
        parts.push_back(at::empty(size, like.options()));
    deal(number, count, [&](int64_t k, int64_t first, int64_t last) { share(k, parts[k], first, last); });
    for (int64_t k = 1; k < number; k++)
        parts[0].add_(parts[k]);
    return parts[0];
}

/* ---- memory ---- */

/* [N, C, H, W] with the channels of a pixel side by side, copied where it is not. */
Tensor channels_last(const Tensor &x) { return x.resolve_neg().contiguous(at::MemoryFormat::ChannelsLast); }

/* One number after the other. */
Tensor plain(const Tensor &x) { return x.resolve_neg().contiguous(); }

/* Such memory, not yet written to. */
Tensor room(const Tensor &like, at::IntArrayRef size, at::ScalarType type)
{
    return at::empty(size, like.options().dtype(type), at::MemoryFormat::ChannelsLast);
}

Tensor room(const Tensor &like, at::IntArrayRef size) { return room(like, size, like.scalar_type()); }

} // namespace
