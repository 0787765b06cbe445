/* The kernels of this folder as operations of PyTorch that can be differentiated to any order: nothing between the layers
   of a network waits for Python. What they compute, and why it is right, is said in metacortex.nn.winograd, normed_pool
   and pooled, which call them. */

#include "calling.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/var_mean.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Tensors = torch::autograd::variable_list;

/* ---- convolutions ---- */

/* Tiles at a time: with 64 channels 0.3 MiB in and out, which stays in a second-level cache. With many channels the filters
   do not stay there either, and should be read seldom. */
int64_t chunk_of(int64_t in, int64_t out) { return in * out <= 128 * 128 ? 36 : 144; }

/* Tiles for which a thread pays: 128 of 64 and 64 channels. */
int64_t fewest_tiles(int64_t in, int64_t out) { return ((int64_t(1) << 19) + in * out - 1) / (in * out); }

int64_t tiles(int64_t n, int64_t high, int64_t wide) { return n * ((high + 3) / 4) * ((wide + 3) / 4); }

/* Numbers of 36 matrices, which the kernels want a vector apart. */
int64_t matrices(const Tensor &like, int64_t rows, int64_t columns) { return 36 * (rows * columns + lanes(like)); }

/* What a chunk needs: zeros around the images, and tiles before and after the products. */
Tensor working_memory(const Tensor &like, int64_t in, int64_t out, int64_t chunk, int64_t number)
{
    return at::empty({number, std::max(in, out) + matrices(like, chunk, in) + matrices(like, chunk, out)}, like.options());
}

Tensor convolve(const Tensor &images, const Tensor &weight, int64_t pad, bool adjoint)
{
    check(images, {weight});
    Tensor x = channels_last(images), w = weight.resolve_neg();
    int64_t in = x.size(1), out = w.size(adjoint), height = x.size(2), width = x.size(3);
    pad = adjoint ? 2 - pad : pad;
    int64_t high = height + 2 * pad - 2, wide = width + 2 * pad - 2;
    int64_t chunk = chunk_of(in, out), count = tiles(x.size(0), high, wide);
    int64_t number = shares(count, fewest_tiles(in, out)), by_row = w.stride(2), by_column = w.stride(3);
    Tensor y = room(x, {x.size(0), out, high, wide}), u = at::empty({matrices(x, in, out)}, x.options());
    Tensor memory = working_memory(x, in, out, chunk, number);
    if (x.is_meta())
        return y;
    if (adjoint) { /* the filters turned around */
        void *end = static_cast<char *>(w.data_ptr()) + 2 * (by_row + by_column) * w.element_size();
        call(Kernel::filters, x, end, w.stride(1), w.stride(0), -by_row, -by_column, u, in, out);
    } else
        call(Kernel::filters, x, w, w.stride(0), w.stride(1), by_row, by_column, u, in, out);
    deal(number, count, [&](int64_t k, int64_t first, int64_t last) {
        call(Kernel::convolve, x, x, u, y, memory[k], height, width, pad, in, out, first, last, chunk);
    });
    return y;
}

Tensor correlate(const Tensor &images, const Tensor &slopes, int64_t pad)
{
    check(images, {slopes});
    Tensor x = channels_last(images), d = channels_last(slopes);
    int64_t in = x.size(1), out = d.size(1), height = x.size(2), width = x.size(3);
    int64_t chunk = 2 * chunk_of(in, out); /* here the matrices are written to for each */
    int64_t count = tiles(x.size(0), d.size(2), d.size(3));
    int64_t number = shares(count, std::max(fewest_tiles(in, out), chunk));
    Tensor memory = working_memory(x, in, out, chunk, number), w = room(x, {out, in, 3, 3});
    /* Each share has filters of its own, which are added up. */
    Tensor u = summed(x, {matrices(x, in, out)}, number, count,
        [&](int64_t k, const Tensor &part, int64_t first, int64_t last) {
            call(Kernel::correlate, x, x, d, part, memory[k], height, width, pad, in, out, first, last, chunk);
        });
    call(Kernel::unfilter, x, u, w, w.stride(0), w.stride(1), w.stride(2), w.stride(3), in, out);
    return w;
}

/* (x [N, I, H, W], w [O, I, 3, 3]) -> [N, O, H + 2 pad - 2, W + 2 pad - 2]; or the adjoint of that in x, a convolution
   with the filters turned around, padded by 2 - pad. */
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

Tensor convolution(const Tensor &x, const Tensor &w, int64_t pad)
{
    TORCH_CHECK(x.dim() == 4 && x.numel() > 0 && w.sizes().slice(1) == at::IntArrayRef({x.size(1), 3, 3}) && 0 <= pad && pad <= 2 &&
            std::min(x.size(2), x.size(3)) + 2 * pad > 2 && x.size(1) % lanes(x) == 0 && w.size(0) % lanes(x) == 0,
        "no convolution with 3x3 filters that can be computed: ", x.sizes(), " with ", w.sizes(), ", padded by ", pad);
    return Convolution::apply(x, w, pad, false);
}

/* ---- kernels that go through images ---- */

/* Numbers for which a thread pays. */
constexpr int64_t FEWEST = int64_t(1) << 18;

int64_t values(const Tensor &z) { return z.numel() / z.size(1); }

int64_t image_shares(const Tensor &z) { return shares(z.size(0), 1 + FEWEST * z.size(0) / z.numel()); }

template <class... Given> void each_image(Kernel kernel, const Tensor &z, const Given &...given)
{
    deal(image_shares(z), z.size(0), [&](int64_t, int64_t first, int64_t last) {
        call(kernel, z, given..., z.size(2), z.size(3), z.size(1), first, last);
    });
}

/* The sums [sums, C] that a function of images ends with. */
template <class... Given> Tensor over_images(Kernel kernel, int64_t sums, const Tensor &z, const Given &...given)
{
    return summed(z, {sums, z.size(1)}, image_shares(z), z.size(0),
        [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
            call(kernel, z, given..., out, z.size(2), z.size(3), z.size(1), first, last);
        });
}

/* Likewise of pixels. */
template <class... Given> Tensor over_pixels(Kernel kernel, int64_t sums, const Tensor &z, const Given &...given)
{
    return summed(z, {sums, z.size(1)}, shares(values(z), FEWEST / z.size(1)), values(z),
        [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
            call(kernel, z, given..., out, z.size(1), first, last);
        });
}

Tensor halved(const Tensor &x, at::ScalarType type)
{
    return room(x, {x.size(0), x.size(1), x.size(2) / 2, x.size(3) / 2}, type);
}

/* ---- batch norm, maxima and ReLU as one; a `layer` is mean, variance, r and a, [4, C] ---- */

/* Equation (1) of metacortex.nn.normed_pool in operations that can be differentiated further. */
Tensors written_out(const Tensor &g, const Tensor &z, const Tensor &weight, const Tensor &places, double eps)
{
    auto corner = [&](int64_t k) { return places.eq(k).to(g.scalar_type()) * g; };
    auto row = [&](int64_t k) { return at::stack({corner(k), corner(k + 1)}, -1).flatten(3); }; /* [N, C, H/2, 2 (W/2)] */
    Tensor whole = at::stack({row(0), row(2)}, 3).flatten(2, 3);
    whole = at::constant_pad_nd(whole, {0, z.size(3) - whole.size(3), 0, z.size(2) - whole.size(2)});
    std::vector<int64_t> axes = {0, 2, 3};
    auto [var, mean] = at::var_mean(z, axes, 0, true);
    Tensor r = (var + eps).rsqrt(), n = (z - mean) * r;
    Tensor part = weight.view({-1, 1, 1}) * r * (whole - whole.mean(axes, true) - n * (whole * n).mean(axes, true));
    return {part, (whole * n).sum(axes), whole.sum(axes)};
}

Tensor leaf(const Tensor &x) { return x.requires_grad() ? x.view_as(x) : x.detach().requires_grad_(); }

/* The derivatives by z, weight and bias, from slopes g of the outputs. */
struct NormedSlopes : Function<NormedSlopes> {
    static Tensors forward(AutogradContext *context, const Tensor &slopes, const Tensor &z, const Tensor &weight,
        const Tensor &places, const Tensor &layer, double eps)
    {
        check(z, {slopes, weight});
        Tensor g = channels_last(slopes), whole = channels_last(z), won = channels_last(places);
        Tensor sums = over_images(Kernel::slopes_of, 2, whole, g, won, whole, layer);
        Tensor factors = at::empty_like(layer), dz = at::empty_like(whole);
        call(Kernel::first_factors, z, layer, sums, factors, values(z), z.size(1));
        each_image(Kernel::spread_slopes, whole, g, won, Tensor(), whole, layer, factors, dz);
        context->save_for_backward({slopes, z, weight, places, layer, sums});
        context->saved_data["eps"] = eps;
        return {dz, sums[1], sums[0]};
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        Tensor g = saved[0], z = saved[1], weight = saved[2], places = saved[3], layer = saved[4], sums = saved[5];
        if (at::GradMode::is_enabled()) {
            Tensors by = {leaf(g), leaf(z), leaf(weight)};
            auto out = written_out(by[0], by[1], by[2], places, context->saved_data["eps"].toDouble());
            auto found = torch::autograd::grad(out, by, slopes, /*retain_graph=*/true, /*create_graph=*/true);
            return {found[0], found[1], found[2], Tensor(), Tensor(), Tensor()};
        }
        Tensor h = channels_last(slopes[0]), of_weight = plain(slopes[1]), of_bias = plain(slopes[2]);
        g = channels_last(g), z = channels_last(z), places = channels_last(places);
        Tensor factors = at::empty_like(layer), dg = at::empty_like(g), dz = at::empty_like(z);
        Tensor dweight = at::empty_like(of_weight), own = over_pixels(Kernel::moments_with, 2, z, h, z, layer);
        call(Kernel::second_factors, z, layer, own, of_weight, of_bias, factors, values(z), z.size(1));
        Tensor product = over_images(Kernel::pick_slopes, 1, z, g, places, h, z, layer, factors, dg);
        call(Kernel::third_factors, z, layer, sums, own, product, factors, dweight, values(z), z.size(1));
        each_image(Kernel::spread_slopes, z, g, places, h, z, layer, factors, dz);
        return {dg, dz, dweight, Tensor(), Tensor(), Tensor()};
    }
};

struct Normed : Function<Normed> {
    static Tensors forward(AutogradContext *context, const Tensor &z, const Tensor &weight, const Tensor &bias, double eps)
    {
        check(z, {weight, bias});
        Tensor whole = channels_last(z), layer = at::empty({4, z.size(1)}, z.options());
        Tensor sums = over_pixels(Kernel::moments, 2, whole, whole);
        call(Kernel::standard, z, whole, sums, plain(weight), layer, values(z), eps, z.size(1));
        Tensor y = halved(whole, z.scalar_type()), places = halved(whole, at::kChar);
        each_image(Kernel::pool_normed, whole, whole, layer, plain(bias), y, places);
        Tensor mean = layer[0], var = layer[1];
        context->save_for_backward({z, weight, places, layer});
        context->saved_data["eps"] = eps;
        context->mark_non_differentiable({mean, var});
        return {y, mean, var};
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        double eps = context->saved_data["eps"].toDouble();
        auto found = NormedSlopes::apply(slopes[0], saved[0], saved[1], saved[2], saved[3], eps);
        return {found[0], found[1], found[2], Tensor()};
    }
};

std::tuple<Tensor, Tensor, Tensor> normed_pool(const Tensor &z, const Tensor &weight, const Tensor &bias, double eps)
{
    TORCH_CHECK(z.dim() == 4 && z.numel() > 0 && z.size(1) % lanes(z) == 0 && weight.numel() == z.size(1) &&
            bias.numel() == z.size(1),
        "no batch norm that can be computed: ", z.sizes(), " with ", weight.sizes(), " and ", bias.sizes());
    auto found = Normed::apply(z, weight, bias, eps);
    return {found[0], found[1], found[2]};
}

/* ---- maxima and ReLU ---- */

/* Slopes [N, C, H / 2, W / 2] at their places in [N, C, H, W], or the adjoint of that. */
struct Scattered : Function<Scattered> {
    static Tensor forward(AutogradContext *context, const Tensor &slopes, const Tensor &places, bool scatter,
        int64_t height, int64_t width)
    {
        check(slopes, {});
        context->save_for_backward({places});
        context->saved_data["scatter"] = scatter;
        context->saved_data["height"] = height;
        context->saved_data["width"] = width;
        Tensor from = channels_last(slopes), won = channels_last(places);
        Tensor large = scatter ? room(from, {from.size(0), from.size(1), height, width}) : from;
        Tensor small = scatter ? from : halved(from, from.scalar_type());
        each_image(scatter ? Kernel::scatter_values : Kernel::pick_values, large, large, small, won);
        return scatter ? large : small;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto &known = context->saved_data;
        auto places = context->get_saved_variables()[0];
        bool scatter = !known["scatter"].toBool();
        auto found = Scattered::apply(slopes[0], places, scatter, known["height"].toInt(), known["width"].toInt());
        return {found, Tensor(), Tensor(), Tensor(), Tensor()};
    }
};

struct Maxima : Function<Maxima> {
    static Tensor forward(AutogradContext *context, const Tensor &given)
    {
        Tensor x = channels_last(given), y = halved(x, x.scalar_type()), places = halved(x, at::kChar);
        each_image(Kernel::pool_values, x, x, y, places);
        context->save_for_backward({places});
        context->saved_data["height"] = x.size(2);
        context->saved_data["width"] = x.size(3);
        return y;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto &known = context->saved_data;
        auto places = context->get_saved_variables()[0];
        return {Scattered::apply(slopes[0], places, true, known["height"].toInt(), known["width"].toInt())};
    }
};

Tensor maxima(const Tensor &x)
{
    check(x, {});
    TORCH_CHECK(x.dim() == 4 && x.numel() > 0 && x.size(1) % lanes(x) == 0, "no images to pool: ", x.sizes());
    return Maxima::apply(x);
}

/* ---- maxima and ReLU of a linear map of patches: columns [D, N, H, W] ---- */

/* Shares of the images; a thread pays from a quarter of a millisecond on. */
int64_t projection_shares(const Tensor &columns, int64_t filters)
{
    int64_t images = columns.size(1), products = filters * columns.numel() / std::max<int64_t>(1, images);
    return shares(images, 1 + (int64_t(1) << 23) / std::max<int64_t>(1, products));
}

Tensor outputs(const Tensor &columns, int64_t filters, at::ScalarType type)
{
    return room(columns, {columns.size(1), filters, columns.size(2) / 2, columns.size(3) / 2}, type);
}

void project(Kernel kernel, const Tensor &weights, const Tensor &columns, const Tensor &y, const Tensor &places)
{
    int64_t depth = columns.size(0), images = columns.size(1), filters = weights.size(1);
    deal(projection_shares(columns, filters), images, [&](int64_t, int64_t first, int64_t last) {
        call(kernel, columns, columns, weights, y, places, depth, images, columns.size(2), columns.size(3), filters, first,
            last);
    });
}

/* The adjoint of picking at the places: from [N, F, H / 2, W / 2] to [D + 1, F]. */
struct Collected : Function<Collected> {
    static Tensor forward(AutogradContext *context, const Tensor &given, const Tensor &columns, const Tensor &places)
    {
        check(columns, {given});
        context->save_for_backward({columns, places});
        Tensor slopes = channels_last(given), won = channels_last(places);
        int64_t depth = columns.size(0), images = columns.size(1), filters = slopes.size(1);
        int64_t number = projection_shares(columns, filters);
        Tensor memory = at::empty({number, (depth + 1) * lanes(columns)}, columns.options());
        return summed(columns, {depth + 1, filters}, number, images,
            [&](int64_t k, const Tensor &out, int64_t first, int64_t last) {
                call(Kernel::collect, columns, columns, out, slopes, won, memory[k], depth, images, columns.size(2),
                    columns.size(3), filters, first, last);
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
        project(Kernel::pick, plain(weights), columns, y, channels_last(places));
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

/* (w over b [D + 1, F], columns) -> [N, F, H / 2, W / 2] */
struct Projected : Function<Projected> {
    static Tensor forward(AutogradContext *context, const Tensor &weights, const Tensor &columns)
    {
        Tensor y = outputs(columns, weights.size(1), columns.scalar_type());
        Tensor places = outputs(columns, weights.size(1), at::kChar);
        project(Kernel::pool, plain(weights), columns, y, places);
        context->save_for_backward({columns, places});
        return y;
    }
    static Tensors backward(AutogradContext *context, Tensors slopes)
    {
        auto saved = context->get_saved_variables();
        return {Collected::apply(slopes[0], saved[0], saved[1]), Tensor()};
    }
};

Tensor projected(const Tensor &weights, const Tensor &columns)
{
    check(columns, {weights});
    TORCH_CHECK(columns.dim() == 4 && columns.is_contiguous() && weights.dim() == 2 &&
            weights.size(0) == columns.size(0) + 1 && weights.size(1) % lanes(columns) == 0,
        "no linear map of patches that can be computed: ", weights.sizes(), " of ", columns.sizes());
    return Projected::apply(weights, columns);
}

/* Takes the mean of each row away, in place: the means [D] and the covariance [D, D]. */
std::tuple<Tensor, Tensor> centre_(Tensor columns)
{
    check(columns, {});
    TORCH_CHECK(columns.dim() == 4 && columns.is_contiguous() && columns.numel() > 0, "no patches: ", columns.sizes());
    int64_t depth = columns.size(0), count = columns.numel() / depth, number = shares(count, 2 * FEWEST / depth);
    Tensor centre = summed(columns, {depth}, number, count,
        [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
            call(Kernel::sum_columns, columns, columns, out, depth, count, first, last);
        });
    centre.div_(count);
    Tensor products = summed(columns, {depth, depth}, number, count,
        [&](int64_t, const Tensor &out, int64_t first, int64_t last) {
            call(Kernel::centre_columns, columns, columns, centre, out, depth, count, first, last);
        });
    return {centre, products.div_(count)};
}

} // namespace

TORCH_LIBRARY(metacortex, library)
{
    library.def("use(str path, bool twofold) -> ()", use);
    library.def("share_finely(bool yes) -> ()", [](bool yes) { finely = yes; });
    library.def("convolution(Tensor x, Tensor w, int pad) -> Tensor", convolution);
    library.def("normed_pool(Tensor z, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor, Tensor)", normed_pool);
    library.def("maxima(Tensor x) -> Tensor", maxima);
    library.def("projected(Tensor weights, Tensor columns) -> Tensor", projected);
    library.def("centre_(Tensor(a!) columns) -> (Tensor, Tensor)", centre_);
}
