/* The kernels of this folder as operations of PyTorch, which can be differentiated to any order: nothing between the
   layers of a network waits for Python. What they compute, and why it is right, stands in metacortex.nn.winograd,
   normed_pool and pooled, which call them.

   The kernels are compiled for themselves, once for each type of numbers; `use` looks their functions up. All tensors
   that come here are of one such type and on a CPU (or without data, for which nothing is computed). */

#include <dlfcn.h>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/var_mean.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Tensors = torch::autograd::variable_list;
using Pair = std::tuple<Tensor, Tensor>;
using Triple = std::tuple<Tensor, Tensor, Tensor>;

/* ---- calling C ---- */

enum Kernel {
    FILTERS, UNFILTER, CONVOLVE, CORRELATE,
    MOMENTS, MOMENTS_WITH, STANDARD, POOL_NORMED, SLOPES_OF, FIRST_FACTORS, SECOND_FACTORS, THIRD_FACTORS, SPREAD_SLOPES, PICK_SLOPES,
    POOL, PICK, COLLECT, SUM_COLUMNS, CENTRE_COLUMNS, POOL_VALUES, PICK_VALUES, SCATTER_VALUES,
    LANES, KERNELS
};
constexpr const char *NAMES[KERNELS] = {
    "filters", "unfilter", "convolve", "correlate",
    "moments", "moments_with", "standard", "pool_normed", "slopes_of", "first_factors", "second_factors", "third_factors", "spread_slopes", "pick_slopes",
    "pool", "pick", "collect", "sum_columns", "centre_columns", "pool_values", "pick_values", "scatter_values",
    "lanes",
};
void *functions[2][KERNELS];

void use(std::string path, bool wide)
{
    void *library = dlopen(path.c_str(), RTLD_NOW);
    TORCH_CHECK(library, dlerror());
    for (int k = 0; k < KERNELS; k++)
        if (void *found = dlsym(library, NAMES[k]))
            functions[wide][k] = found;
}

void *function(Kernel kernel, const Tensor &like)
{
    auto type = like.scalar_type();
    TORCH_CHECK_TYPE(type == at::kFloat || type == at::kDouble, "there are no kernels for ", type);
    void *found = functions[type == at::kDouble][kernel];
    TORCH_CHECK(found, "the kernels for ", type, " have not been loaded");
    return found;
}

int64_t lanes(const Tensor &like) { return reinterpret_cast<int64_t (*)()>(function(LANES, like))(); }

void *word(const Tensor &x) { return x.defined() ? x.data_ptr() : nullptr; }
void *word(void *x) { return x; }
int64_t word(int64_t x) { return x; }
double word(double x) { return x; }

/* The first argument names the type of numbers; addresses say nothing of what lies there. */
template <class... Given> void call(Kernel kernel, const Tensor &like, const Given &...given)
{
    reinterpret_cast<void (*)(decltype(word(given))...)>(function(kernel, like))(word(given)...);
}

void check(const Tensor &like, std::initializer_list<Tensor> others)
{
    TORCH_CHECK_TYPE(like.is_cpu() || like.is_meta(), "a kernel for a CPU got a tensor on ", like.device());
    for (const Tensor &x : others)
        TORCH_CHECK_TYPE(x.scalar_type() == like.scalar_type() && x.device() == like.device(),
            "a kernel for ", like.scalar_type(), " on ", like.device(), " got ", x.scalar_type(), " on ", x.device());
}

/* ---- dealing work to threads ---- */

bool finely = false;

/* Threads for pieces of work, where one pays from `fewest` pieces on (from one on, so that tests can be small). */
int64_t shares(int64_t count, int64_t fewest)
{
    int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    fewest = finely ? 1 : fewest;
    return std::max<int64_t>(1, std::min(threads, count / std::max<int64_t>(fewest, 1)));
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

/* The sum of what the shares write, each into room of its own [..., size] */
template <class Share> Tensor summed(const Tensor &like, at::IntArrayRef size, int64_t number, int64_t count, const Share &share)
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

Tensor channels_last(const Tensor &x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

Tensor room(const Tensor &like, int64_t channels, int64_t height, int64_t width, at::ScalarType type)
{
    return at::empty({like.size(0), channels, height, width}, like.options().dtype(type), at::MemoryFormat::ChannelsLast);
}

Tensor halved(const Tensor &x, at::ScalarType type) { return room(x, x.size(1), x.size(2) / 2, x.size(3) / 2, type); }

/* ---- convolutions ---- */

/* Tiles at a time; with 64 channels 0.3 MiB in and out, which stays in a second-level cache. With many channels the filters do
   not stay there either, and should be read seldom. */
int64_t chunk_of(int64_t in, int64_t out) { return in * out <= 128 * 128 ? 36 : 144; }

/* Tiles for which a thread pays: 144 of 64 and 64 channels. */
int64_t fewest_tiles(int64_t in, int64_t out) { return ((int64_t(1) << 19) + in * out - 1) / (in * out); }

int64_t tiles(int64_t n, int64_t high, int64_t wide) { return n * ((high + 3) / 4) * ((wide + 3) / 4); }

/* Room for 36 matrices, which the kernels want a vector apart. */
Tensor matrices(const Tensor &like, int64_t in, int64_t out) { return at::empty({36, in * out + lanes(like)}, like.options()); }

/* Of what a chunk takes: zeros around the images, and tiles before and after the products. */
Tensor memory_of(const Tensor &like, int64_t in, int64_t out, int64_t chunk, int64_t number)
{
    return at::empty({number, std::max(in, out) + 36 * (chunk * (in + out) + 2 * lanes(like))}, like.options());
}

Tensor convolve(const Tensor &images, const Tensor &w, int64_t pad, bool adjoint)
{
    check(images, {w});
    Tensor x = channels_last(images);
    int64_t in = x.size(1), out = w.size(adjoint), height = x.size(2), width = x.size(3);
    pad = adjoint ? 2 - pad : pad;
    int64_t high = height + 2 * pad - 2, wide = width + 2 * pad - 2;
    Tensor u = matrices(x, in, out), y = room(x, out, high, wide, x.scalar_type());
    int64_t chunk = chunk_of(in, out), count = tiles(x.size(0), high, wide), number = shares(count, fewest_tiles(in, out));
    Tensor memory = memory_of(x, in, out, chunk, number);
    if (x.is_meta())
        return y;
    int64_t by_row = w.stride(2), by_column = w.stride(3);
    if (adjoint) { /* filters turned around */
        void *end = static_cast<char *>(w.data_ptr()) + 2 * (by_row + by_column) * w.element_size();
        call(FILTERS, x, end, w.stride(1), w.stride(0), -by_row, -by_column, u, in, out);
    } else
        call(FILTERS, x, w, w.stride(0), w.stride(1), by_row, by_column, u, in, out);
    deal(number, count, [&](int64_t k, int64_t first, int64_t last) {
        call(CONVOLVE, x, x, u, y, memory[k], height, width, pad, in, out, first, last, chunk);
    });
    return y;
}

Tensor correlate(const Tensor &images, const Tensor &slopes, int64_t pad)
{
    check(images, {slopes});
    Tensor x = channels_last(images), d = channels_last(slopes);
    int64_t in = x.size(1), out = d.size(1), height = x.size(2), width = x.size(3);
    int64_t chunk = 2 * chunk_of(in, out); /* here the matrices are written to for each */
    int64_t count = tiles(x.size(0), d.size(2), d.size(3)), number = shares(count, std::max(fewest_tiles(in, out), chunk));
    Tensor memory = memory_of(x, in, out, chunk, number);
    Tensor w = at::empty({out, in, 3, 3}, x.options(), at::MemoryFormat::ChannelsLast);
    if (x.is_meta())
        return w;
    /* Each share has filters of its own, which are added up. */
    Tensor u = summed(x, {36, in * out + lanes(x)}, number, count, [&](int64_t k, const Tensor &part, int64_t first, int64_t last) {
        call(CORRELATE, x, x, d, part, memory[k], height, width, pad, in, out, first, last, chunk);
    });
    call(UNFILTER, x, u, w, w.stride(0), w.stride(1), w.stride(2), w.stride(3), in, out);
    return w;
}

struct Correlation;

/* (x [N, I, H, W], w [O, I, 3, 3]) -> [N, O, H + 2 pad - 2, W + 2 pad - 2]; or the adjoint of that in x, a convolution with
   the filters turned around, padded by 2 - pad. */
struct Convolution : Function<Convolution> {
    static Tensor forward(AutogradContext *context, const Tensor &x, const Tensor &w, int64_t pad, bool adjoint)
    {
        context->save_for_backward({x, w});
        context->saved_data["pad"] = pad;
        context->saved_data["adjoint"] = adjoint;
        return convolve(x, w, pad, adjoint);
    }
    static Tensors backward(AutogradContext *context, Tensors slopes);
};

/* (x [N, I, H, W], d as what comes out) -> [O, I, 3, 3], the derivative of <d, w * x> in the filters w. */
struct Correlation : Function<Correlation> {
    static Tensor forward(AutogradContext *context, const Tensor &x, const Tensor &d, int64_t pad)
    {
        context->save_for_backward({x, d});
        context->saved_data["pad"] = pad;
        return correlate(x, d, pad);
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        int64_t pad = context->saved_data["pad"].toInt();
        Tensor by_x, by_d;
        if (context->needs_input_grad(0))
            by_x = Convolution::apply(saved[1], slopes[0], pad, true);
        if (context->needs_input_grad(1))
            by_d = Convolution::apply(saved[0], slopes[0], pad, false);
        return {by_x, by_d, Tensor()};
    }
};

Tensors Convolution::backward(AutogradContext *context, Tensors slopes)
{
    auto saved = context->get_saved_variables();
    int64_t pad = context->saved_data["pad"].toInt();
    bool adjoint = context->saved_data["adjoint"].toBool();
    Tensor by_x, by_w;
    if (context->needs_input_grad(0))
        by_x = Convolution::apply(slopes[0], saved[1], pad, !adjoint);
    if (context->needs_input_grad(1))
        by_w = adjoint ? Correlation::apply(slopes[0], saved[0], pad) : Correlation::apply(saved[0], slopes[0], pad);
    return {by_x, by_w, Tensor(), Tensor()};
}

/* ---- batch norm, maxima and ReLU as one ---- */

/* Numbers for which a thread pays. */
constexpr int64_t FEWEST = int64_t(1) << 18;

int64_t values(const Tensor &z) { return z.numel() / z.size(1); }

/* A function of all pixels of z, or of all images; the sums [sums, C] that it ends with are those of all shares. */
template <class... Given> Tensor over_pixels(Kernel kernel, int64_t sums, const Tensor &z, const Given &...given)
{
    int64_t count = values(z);
    if (z.is_meta())
        return at::empty({sums, z.size(1)}, z.options());
    return summed(z, {sums, z.size(1)}, shares(count, FEWEST / z.size(1)), count, [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
        call(kernel, z, given..., out, z.size(1), first, last);
    });
}

template <class... Given> void each_image(Kernel kernel, const Tensor &z, const Given &...given)
{
    if (z.is_meta())
        return;
    int64_t count = z.size(0);
    deal(shares(count, 1 + FEWEST * count / z.numel()), count, [&](int64_t, int64_t first, int64_t last) {
        call(kernel, z, given..., z.size(2), z.size(3), z.size(1), first, last);
    });
}

template <class... Given> Tensor over_images(Kernel kernel, int64_t sums, const Tensor &z, const Given &...given)
{
    if (z.is_meta())
        return at::empty({sums, z.size(1)}, z.options());
    int64_t count = z.size(0);
    return summed(z, {sums, z.size(1)}, shares(count, 1 + FEWEST * count / z.numel()), count, [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
        call(kernel, z, given..., out, z.size(2), z.size(3), z.size(1), first, last);
    });
}

/* The derivative of batch norm, maxima and ReLU written out, to be differentiated again. */
Tensors written_out(const Tensor &g, const Tensor &z, const Tensor &weight, const Tensor &places, double eps)
{
    Tensors rows, corners;
    for (int64_t k = 0; k < 4; k++)
        corners.push_back(places.eq(k).to(g.scalar_type()) * g);
    for (int64_t k = 0; k < 4; k += 2)
        rows.push_back(at::stack({corners[k], corners[k + 1]}, -1).flatten(3)); /* [N, C, H / 2, 2 (W / 2)] */
    Tensor whole = at::stack(rows, 3).flatten(2, 3);
    whole = at::constant_pad_nd(whole, {0, z.size(3) - whole.size(3), 0, z.size(2) - whole.size(2)});
    std::vector<int64_t> axes = {0, 2, 3};
    auto [var, mean] = at::var_mean(z, axes, 0, true);
    Tensor r = (var + eps).rsqrt(), n = (z - mean) * r;
    Tensor part = weight.view({-1, 1, 1}) * r * (whole - whole.mean(axes, true) - n * (whole * n).mean(axes, true));
    return {part, (whole * n).sum(axes), whole.sum(axes)};
}

Tensor as_leaf(const Tensor &x) { return x.requires_grad() ? x.view_as(x) : x.detach().requires_grad_(); }

/* The derivative, from slopes g of the outputs, z and the weight. */
struct NormedSlopes : Function<NormedSlopes> {
    static Tensors forward(AutogradContext *context, const Tensor &g, const Tensor &z, const Tensor &weight, const Tensor &places,
        const Tensor &layer, double eps)
    {
        check(z, {g, weight});
        Tensor some = channels_last(g), whole = channels_last(z), where = channels_last(places);
        Tensor sums = over_images(SLOPES_OF, 2, whole, some, where, whole, layer);
        Tensor factors = at::empty_like(layer), dz = at::empty_like(whole);
        if (!z.is_meta())
            call(FIRST_FACTORS, z, layer, sums, factors, values(z), z.size(1));
        each_image(SPREAD_SLOPES, whole, some, where, Tensor(), whole, layer, factors, dz);
        context->save_for_backward({g, z, weight, places, layer, sums});
        context->saved_data["eps"] = eps;
        return {dz, sums[1], sums[0]};
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        Tensor g = saved[0], z = saved[1], weight = saved[2], places = saved[3], layer = saved[4], sums = saved[5];
        if (at::GradMode::is_enabled()) {
            Tensors leaves = {as_leaf(g), as_leaf(z), as_leaf(weight)};
            auto found = written_out(leaves[0], leaves[1], leaves[2], places, context->saved_data["eps"].toDouble());
            auto all = torch::autograd::grad(found, leaves, slopes, true, true);
            return {all[0], all[1], all[2], Tensor(), Tensor(), Tensor()};
        }
        Tensor h = channels_last(slopes[0]);
        g = channels_last(g), z = channels_last(z), places = channels_last(places);
        Tensor of_weight = slopes[1].contiguous(), of_bias = slopes[2].contiguous();
        Tensor own = over_pixels(MOMENTS_WITH, 2, z, h, z, layer), factors = at::empty_like(layer);
        Tensor dg = at::empty_like(g), dz = at::empty_like(z), dweight = at::empty_like(of_weight);
        if (!z.is_meta())
            call(SECOND_FACTORS, z, layer, own, of_weight, of_bias, factors, values(z), z.size(1));
        Tensor product = over_images(PICK_SLOPES, 1, z, g, places, h, z, layer, factors, dg);
        if (!z.is_meta())
            call(THIRD_FACTORS, z, layer, sums, own, product, factors, dweight, values(z), z.size(1));
        each_image(SPREAD_SLOPES, z, g, places, h, z, layer, factors, dz);
        return {dg, dz, dweight, Tensor(), Tensor(), Tensor()};
    }
};

struct Normed : Function<Normed> {
    static Tensors forward(AutogradContext *context, const Tensor &z, const Tensor &weight, const Tensor &bias, double eps)
    {
        check(z, {weight, bias});
        Tensor whole = channels_last(z), layer = at::empty({4, z.size(1)}, z.options());
        Tensor sums = over_pixels(MOMENTS, 2, whole, whole);
        if (!z.is_meta())
            call(STANDARD, z, whole, sums, weight.contiguous(), layer, values(z), eps, z.size(1));
        Tensor y = halved(whole, z.scalar_type()), places = halved(whole, at::kChar);
        each_image(POOL_NORMED, whole, whole, layer, bias.contiguous(), y, places);
        context->save_for_backward({z, weight, places, layer});
        context->saved_data["eps"] = eps;
        Tensor mean = layer[0], var = layer[1];
        context->mark_non_differentiable({mean, var});
        return {y, mean, var};
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        auto found = NormedSlopes::apply(slopes[0], saved[0], saved[1], saved[2], saved[3], context->saved_data["eps"].toDouble());
        return {found[0], found[1], found[2], Tensor()};
    }
};

/* ---- maxima and ReLU ---- */

/* Slopes [N, C, H / 2, W / 2] at their places in [N, C, H, W], or the adjoint of that. */
struct Scattered : Function<Scattered> {
    static Tensor forward(AutogradContext *context, const Tensor &slopes, const Tensor &places, bool scatter, int64_t height, int64_t width)
    {
        check(slopes, {});
        context->save_for_backward({places});
        context->saved_data["scatter"] = scatter;
        context->saved_data["height"] = height;
        context->saved_data["width"] = width;
        Tensor from = channels_last(slopes), where = channels_last(places);
        Tensor large = scatter ? room(from, from.size(1), height, width, from.scalar_type()) : from;
        Tensor small = scatter ? from : halved(from, from.scalar_type());
        each_image(scatter ? SCATTER_VALUES : PICK_VALUES, large, large, small, where);
        return scatter ? large : small;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto &known = context->saved_data;
        return {Scattered::apply(slopes[0], context->get_saved_variables()[0], !known["scatter"].toBool(), known["height"].toInt(), known["width"].toInt()),
            Tensor(), Tensor(), Tensor(), Tensor()};
    }
};

struct Maxima : Function<Maxima> {
    static Tensor forward(AutogradContext *context, const Tensor &given)
    {
        check(given, {});
        Tensor x = channels_last(given), y = halved(x, x.scalar_type()), places = halved(x, at::kChar);
        each_image(POOL_VALUES, x, x, y, places);
        context->save_for_backward({places});
        context->saved_data["height"] = x.size(2);
        context->saved_data["width"] = x.size(3);
        return y;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto &known = context->saved_data;
        return {Scattered::apply(slopes[0], context->get_saved_variables()[0], true, known["height"].toInt(), known["width"].toInt())};
    }
};

/* ---- maxima and ReLU of a linear map of patches ---- */

/* Images for which a thread pays: a quarter of a millisecond. */
int64_t fewest_images(const Tensor &columns, int64_t filters)
{
    return 1 + (int64_t(1) << 23) / std::max<int64_t>(1, filters * columns.numel() / std::max<int64_t>(1, columns.size(1)));
}

/* Room for the outputs. */
Tensor outputs(const Tensor &columns, int64_t filters, at::ScalarType type)
{
    return at::empty({columns.size(1), filters, columns.size(2) / 2, columns.size(3) / 2}, columns.options().dtype(type), at::MemoryFormat::ChannelsLast);
}

void project(Kernel kernel, const Tensor &weights, const Tensor &columns, const Tensor &y, const Tensor &places)
{
    if (columns.is_meta())
        return;
    int64_t filters = weights.size(1), images = columns.size(1);
    deal(shares(images, fewest_images(columns, filters)), images, [&](int64_t, int64_t first, int64_t last) {
        call(kernel, columns, columns, weights, y, places, columns.size(0), images, columns.size(2), columns.size(3), filters, first, last);
    });
}

struct Picked;

/* The adjoint of picking at the places: from [N, F, H / 2, W / 2] to [D + 1, F]. */
struct Collected : Function<Collected> {
    static Tensor forward(AutogradContext *context, const Tensor &given, const Tensor &columns, const Tensor &places)
    {
        check(columns, {given});
        context->save_for_backward({columns, places});
        Tensor slopes = channels_last(given);
        int64_t depth = columns.size(0), images = columns.size(1), filters = slopes.size(1);
        if (columns.is_meta())
            return at::empty({depth + 1, filters}, columns.options());
        int64_t number = shares(images, fewest_images(columns, filters));
        return summed(columns, {depth + 1, filters}, number, images, [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
            std::vector<char> memory((depth + 1) * lanes(columns) * columns.element_size());
            call(COLLECT, columns, columns, out, slopes, places, static_cast<void *>(memory.data()), depth, images, columns.size(2), columns.size(3), filters,
                first, last);
        });
    }
    static Tensors backward(AutogradContext *context, Tensors slopes);
};

/* The map's outputs at the places: from [D + 1, F] to [N, F, H / 2, W / 2]; the derivative of the maxima. */
struct Picked : Function<Picked> {
    static Tensor forward(AutogradContext *context, const Tensor &weights, const Tensor &columns, const Tensor &places)
    {
        check(columns, {weights});
        context->save_for_backward({columns, places});
        Tensor y = outputs(columns, weights.size(1), columns.scalar_type());
        project(PICK, weights.contiguous(), columns, y, places);
        return y;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        return {Collected::apply(slopes[0], saved[0], saved[1]), Tensor(), Tensor()};
    }
};

Tensors Collected::backward(AutogradContext *context, Tensors slopes)
{
    auto saved = context->get_saved_variables();
    return {Picked::apply(slopes[0], saved[0], saved[1]), Tensor(), Tensor()};
}

/* (w over b [D + 1, F], columns [D, N, H, W]) -> [N, F, H / 2, W / 2] */
struct Projected : Function<Projected> {
    static Tensor forward(AutogradContext *context, const Tensor &weights, const Tensor &columns)
    {
        check(columns, {weights});
        Tensor y = outputs(columns, weights.size(1), columns.scalar_type()), places = outputs(columns, weights.size(1), at::kChar);
        project(POOL, weights.contiguous(), columns, y, places);
        context->save_for_backward({columns, places});
        return y;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        return {Collected::apply(slopes[0], saved[0], saved[1]), Tensor()};
    }
};

/* Takes the mean of each row away, in place; the means [D] and the covariance [D, D]. */
Pair centre_(Tensor columns)
{
    int64_t depth = columns.size(0), count = columns.numel() / depth;
    auto size = columns.options();
    if (columns.is_meta())
        return {at::empty({depth}, size), at::empty({depth, depth}, size)};
    int64_t number = shares(count, 2 * FEWEST / depth);
    Tensor centre = summed(columns, {depth}, number, count, [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
        call(SUM_COLUMNS, columns, columns, out, depth, count, first, last);
    }).div_(count);
    Tensor products = summed(columns, {depth, depth}, number, count, [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
        call(CENTRE_COLUMNS, columns, columns, centre, out, depth, count, first, last);
    });
    return {centre, products.div_(count)};
}

Triple normed_pool(const Tensor &z, const Tensor &weight, const Tensor &bias, double eps)
{
    auto found = Normed::apply(z, weight, bias, eps);
    return {found[0], found[1], found[2]};
}

} // namespace

TORCH_LIBRARY(metacortex, library)
{
    library.def("use(str path, bool wide) -> ()", use);
    library.def("share_finely(bool yes) -> ()", [](bool yes) { finely = yes; });
    library.def("convolution(Tensor x, Tensor w, int pad) -> Tensor",
        [](const Tensor &x, const Tensor &w, int64_t pad) { return Convolution::apply(x, w, pad, false); });
    library.def("normed_pool(Tensor z, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor, Tensor)", normed_pool);
    library.def("maxima(Tensor x) -> Tensor", [](const Tensor &x) { return Maxima::apply(x); });
    library.def("projected(Tensor weights, Tensor columns) -> Tensor",
        [](const Tensor &weights, const Tensor &columns) { return Projected::apply(weights, columns); });
    library.def("centre_(Tensor(a!) columns) -> (Tensor, Tensor)", centre_);
}
