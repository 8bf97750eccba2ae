#include "workloads/routing/token_trace.hpp"

#include "tests/unit/routing/fixture.hpp"

using namespace moesim;

namespace {

/// Two tokens, three layers, k = 2.
const std::vector<long long> kIds = {0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 1, 3};

TokenTrace trace_of(const std::string& file, const TraceOptions& options = {}) {
  return TokenTrace::from_bytes(bytes_of(file), "t.npy", options);
}

std::vector<ExpertIndex> row(const TokenTrace& trace, std::size_t token, std::size_t layer) {
  std::vector<ExpertIndex> out(trace.shape().k);
  trace.read(token, layer, out);
  return out;
}

TraceOptions needs(RoutingNeeds needs) {
  TraceOptions options;
  options.needs = std::move(needs);
  return options;
}

template <class T>
void check_type(const std::string& descr) {
  const std::string file = npy_with_header(npy_header(descr, "2, 3, 2"), raw<T>(kIds));
  const TokenTrace trace = trace_of(file);
  CHECK(trace.shape() == RoutingShape{.tokens = 2, .layers = 3, .k = 2, .experts = 8});
  for (std::size_t token = 0; token < 2; ++token) {
    for (std::size_t layer = 0; layer < 3; ++layer) {
      const std::size_t from = (token * 3 + layer) * 2;  // row-major [tokens, layers, k]
      CHECK(row(trace, token, layer) ==
            std::vector{static_cast<ExpertIndex>(kIds[from]), static_cast<ExpertIndex>(kIds[from + 1])});
    }
  }
}

}  // namespace

TEST_CASE("token trace: every integer type reads the same") {
  check_type<std::uint8_t>("|u1");
  check_type<std::int8_t>("|i1");
  check_type<std::uint16_t>("<u2");
  check_type<std::int16_t>("<i2");
  check_type<std::uint32_t>("<u4");
  check_type<std::int32_t>("<i4");
  check_type<std::uint64_t>("<u8");
  check_type<std::int64_t>("<i8");
}

TEST_CASE("token trace: a row for each MoE layer, or for each layer with the dense ones ignored") {
  // Three layers in the file. The model has three MoE layers; or two of three, the last two unless it says which.
  const std::string file = npy_with_header(npy_header("|u1", "2, 3, 2"), raw<std::uint8_t>(kIds));
  const RoutingNeeds all{.moe_layers = 3, .all_layers = 3, .k = 2, .experts = 8};
  CHECK(row(trace_of(file, needs(all)), 1, 0) == std::vector<ExpertIndex>{6, 7});
  const RoutingNeeds first_dense{.moe_layers = 2, .all_layers = 3, .k = 2, .experts = 8};
  const TokenTrace last = trace_of(file, needs(first_dense));
  CHECK(last.shape().layers == 2);
  CHECK(row(last, 0, 0) == std::vector<ExpertIndex>{2, 3});
  RoutingNeeds middle_dense = first_dense;
  middle_dense.moe_layer_indices = {0, 2};
  const TokenTrace outer = trace_of(file, needs(middle_dense));
  CHECK(row(outer, 0, 0) == std::vector<ExpertIndex>{0, 1});
  CHECK(row(outer, 0, 1) == std::vector<ExpertIndex>{4, 5});
}

TEST_CASE("token trace: rows of dense layers may hold anything") {
  // vLLM leaves what it likes in layers without experts; layer 0 of each token here.
  const std::string file =
      npy_with_header(npy_header("<i4", "2, 2, 2"), raw<std::int32_t>({-1, -1, 0, 1, 99, 99, 2, 3}));
  const TokenTrace trace = trace_of(file, needs({.moe_layers = 1, .all_layers = 2, .k = 2, .experts = 4}));
  CHECK(row(trace, 1, 0) == std::vector<ExpertIndex>{2, 3});
}

TEST_CASE("token trace: traces that do not fit the model") {
  const std::string file = npy_with_header(npy_header("|u1", "2, 3, 2"), raw<std::uint8_t>(kIds));
  const auto fault = [&](RoutingNeeds wanted) { return error_of([&] { trace_of(file, needs(wanted)); }); };
  CHECK(fault({.moe_layers = 3, .all_layers = 3, .k = 4, .experts = 8}) ==
        "t.npy: expected 4 experts per token, as the model has, found 2");
  CHECK(fault({.moe_layers = 58, .all_layers = 61, .k = 2, .experts = 8}) ==
        "t.npy: expected routing of 58 layers (the model's MoE layers) or 61 (all its layers), found 3");
  CHECK(fault({.moe_layers = 4, .all_layers = 4, .k = 2, .experts = 8}) ==
        "t.npy: expected routing of 4 layers, as many as the model has, found 3");
  // Ids count from 0: the first 5 among 0 .. 4 stands at token 0, layer 2, slot 1.
  CHECK(fault({.moe_layers = 3, .all_layers = 3, .k = 2, .experts = 5}) ==
        "t.npy: expected expert ids from 0 to 4, found 5 at token 0, layer 2, slot 1");
}

TEST_CASE("token trace: arrays that are no routing") {
  const auto fault = [](const std::string& file) { return error_of([&] { trace_of(file); }); };
  CHECK(fault(npy_with_header(npy_header("|u1", "6, 2"), raw<std::uint8_t>(kIds))) ==
        "t.npy: expected an array of 3 dimensions [tokens, layers, k], found 2: [6, 2]");
  CHECK(fault(npy_with_header(npy_header("|u1", "1, 2, 3, 2"), raw<std::uint8_t>(kIds))) ==
        "t.npy: expected an array of 3 dimensions [tokens, layers, k], found 4: [1, 2, 3, 2]");
  CHECK(fault(npy_with_header(npy_header("<f4", "2, 3, 2"), raw<float>(kIds))) ==
        "t.npy: expected expert ids of an integer type, found float32");
  CHECK(fault(npy_with_header(npy_header("|u1", "0, 3, 2"), "")) ==
        "t.npy: expected a trace with tokens, layers and choices, found 0 tokens, 3 layers, k = 2");
  CHECK(
      fault(npy_with_header(npy_header("<i4", "1, 1, 2"), raw<std::int32_t>({3, -1}))) ==
      "t.npy: expected expert ids from 0 to 65535, found -1 at token 0, layer 0, slot 1 (a filler of an incomplete "
      "recording: cut these tokens off; choices that a router dropped are read for models with a capacity factor, and "
      "by trace info --dropped)");
  CHECK(fault(npy_with_header(npy_header("<u8", "1, 1, 2"), std::string(16, '\xff'))) ==
        "t.npy: expected expert ids from 0 to 65535, found 9223372036854775807 at token 0, layer 0, slot 0");
}

TEST_CASE("token trace: rows that name an expert twice are counted") {
  const std::string file = npy_with_header(npy_header("|u1", "3, 1, 2"), raw<std::uint8_t>({1, 1, 0, 1, 2, 2}));
  CHECK(trace_of(file).rows_with_duplicates() == 2);
}

TEST_CASE("token trace: the shape of a raw file stands in its name") {
  const auto shape = raw_shape_from_name("intent_T8222_L26_K6_E64.u8");
  REQUIRE(shape);
  CHECK(shape->tokens == 8222);
  CHECK(shape->layers == 26);
  CHECK(shape->k == 6);
  CHECK(shape->experts == 64);
  CHECK_FALSE(raw_shape_from_name("intent.u8"));
  CHECK_FALSE(raw_shape_from_name("intent_T8222_L26_K6.u8"));
  CHECK_FALSE(raw_shape_from_name("intent_T_L26_K6_E64.u8"));
  CHECK_FALSE(raw_shape_from_name("intent_T1x_L26_K6_E64.u8"));
}

TEST_CASE("token trace: raw files, their sequences and what may be wrong with them") {
  const Folder folder("raw");
  const auto path = folder.write("x_T3_L1_K2_E4.u8", std::string("\0\1\2\3\1\0", 6));
  CHECK(TokenTrace::open(path).sequence_starts().empty());
  static_cast<void>(folder.write("x_seq_lens.json", "[1, 2]"));
  const TokenTrace trace = TokenTrace::open(path);
  CHECK(trace.shape() == RoutingShape{.tokens = 3, .layers = 1, .k = 2, .experts = 4});
  CHECK(std::vector(trace.sequence_starts().begin(), trace.sequence_starts().end()) == std::vector<std::size_t>{0, 1});
  CHECK(row(trace, 1, 0) == std::vector<ExpertIndex>{2, 3});

  TraceOptions options;
  options.sequence_lengths = folder.write("wrong.json", "[1, 3]");
  CHECK(error_of([&] { TokenTrace::open(path, options); }) == options.sequence_lengths->string() +
                                                                  ": expected lengths that add up to the 3 tokens of " +
                                                                  path.string() + ", found 4");
  const auto cut = folder.write("y_T3_L1_K2_E4.u8", "12345");
  CHECK(error_of([&] { TokenTrace::open(cut); }) ==
        cut.string() + ": expected 3 tokens of 2 bytes (1 layers × 2 experts), found 5 bytes");
  const auto nameless = folder.write("z.bin", "12345");
  CHECK(error_of([&] { TokenTrace::open(nameless); }) ==
        nameless.string() +
            ": expected a .npy file, or raw uint8 with its shape in the name (…_T8222_L26_K6_E64.u8) or "
            "in the configuration, found neither");
  TraceOptions shaped;
  shaped.raw = RawTraceShape{.layers = 1, .k = 1, .experts = 256, .tokens = {}};
  CHECK(TokenTrace::open(nameless, shaped).shape() == RoutingShape{.tokens = 5, .layers = 1, .k = 1, .experts = 256});
}

TEST_CASE("token trace: sequence lengths are whole numbers above zero") {
  const Folder folder("lengths");
  const auto path = folder.write("l.json", "[3, 0, 2.5]");
  CHECK(error_of([&] { read_sequence_lengths(path); }) ==
        path.string() + "#/1: expected a whole number, 1 to 1000000000000, found the number 0\n" + path.string() +
            "#/2: expected a whole number, found the number 2.5");
}
