#include "workloads/routing/id_scan.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "sim/core/random.hpp"
#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/set_counter.hpp"

using namespace moesim;

namespace {

struct Case {
  std::string data;
  IdArray ids;
  std::vector<std::size_t> layers;
};

/// Random ids below `experts` as T; not distinct in a row, which the scan is to notice.
template <class T>
Case random_ids(std::uint64_t seed, NpyType type, std::size_t tokens, std::size_t layers, std::size_t k,
                std::size_t experts) {
  RandomStream random(seed, "test.id-scan");
  std::vector<long long> values(tokens * layers * k);
  for (long long& value : values) {
    value = static_cast<long long>(random.below(experts));
  }
  Case made{raw<T>(values), {}, {}};
  made.ids = {bytes_of(made.data), type, tokens, layers, k};
  for (std::size_t layer = 0; layer < layers; ++layer) {
    made.layers.push_back(layer);
  }
  return made;
}

/// Distinct ids in each row, as routers choose them.
template <class T>
Case distinct_ids(std::uint64_t seed, NpyType type, std::size_t tokens, std::size_t layers, std::size_t k,
                  std::size_t experts) {
  RandomStream random(seed, "test.id-scan.distinct");
  std::vector<long long> values;
  std::vector<long long> all(experts);
  std::iota(all.begin(), all.end(), 0LL);
  for (std::size_t row = 0; row < tokens * layers; ++row) {
    for (std::size_t slot = 0; slot < k; ++slot) {
      std::swap(all[slot], all[slot + random.below(experts - slot)]);
      values.push_back(all[slot]);
    }
  }
  Case made = random_ids<T>(seed, type, tokens, layers, k, experts);
  made.data = raw<T>(values);
  made.ids.data = bytes_of(made.data);
  return made;
}

/// Puts `value` in place of one id.
template <class T>
void put(Case& given, std::size_t index, T value) {
  std::memcpy(given.data.data() + index * sizeof(T), &value, sizeof(T));
}

/// The definition, id by id.
void check_against_definition(const Case& given, const IdScan& scan) {
  const IdArray& ids = given.ids;
  std::vector<std::uint64_t> counts(scan.counts.size(), 0);
  std::size_t duplicates = 0;
  for (std::size_t token = 0; token < ids.tokens; ++token) {
    for (std::size_t l = 0; l < given.layers.size(); ++l) {
      std::vector<std::int64_t> row;
      for (std::size_t slot = 0; slot < ids.k; ++slot) {
        row.push_back(id_at(ids.type, ids.data, (token * ids.layers + given.layers[l]) * ids.k + slot));
        counts[l * scan.experts + static_cast<std::size_t>(row.back())] += 1;
      }
      std::sort(row.begin(), row.end());
      duplicates += std::adjacent_find(row.begin(), row.end()) != row.end() ? 1 : 0;
    }
  }
  CHECK(scan.rows_with_duplicates == duplicates);
  std::vector<std::uint64_t> sums(given.layers.size() * scan.experts, 0);
  for (std::size_t i = 0; i < scan.counts.size(); ++i) {
    sums[i % sums.size()] += scan.counts[i];
  }
  counts.resize(sums.size());
  CHECK(sums == counts);
}

}  // namespace

TEST_CASE("id scan: counts and duplicates are those of a loop over all ids, for every type, k and bound") {
  const TaskPool pool(2);
  std::uint64_t seed = 1;
  for (const std::size_t k : {1, 2, 3, 4, 6, 8, 11}) {
    for (const std::size_t experts : {11, 64, 100}) {
      for (const bool known : {false, true}) {
        const auto check = [&](const Case& given) {
          INFO("k " << k << ", experts " << experts << ", " << name_of(given.ids.type));
          const IdScan scan = scan_ids(given.ids, given.layers, known ? std::optional(experts) : std::nullopt,
                                       Fillers::kRefuse, "x", pool);
          check_against_definition(given, scan);
          if (known) {
            CHECK(scan.experts == experts);
          } else {
            // With hundreds of draws of at most 100 ids, the largest is missed with a chance below 1e-5.
            CHECK(scan.experts == std::max(experts, k));
          }
        };
        check(random_ids<std::uint8_t>(seed++, NpyType::kUint8, 313, 5, k, experts));
        check(random_ids<std::int16_t>(seed++, NpyType::kInt16, 313, 5, k, experts));
        check(random_ids<std::int32_t>(seed++, NpyType::kInt32, 313, 5, k, experts));
        check(random_ids<std::uint64_t>(seed++, NpyType::kUint64, 313, 5, k, experts));
      }
    }
  }
}

TEST_CASE("id scan: rows of distinct ids, and the few that are not among them") {
  const TaskPool pool(1);
  std::uint64_t seed = 100;
  // 16 windows of 625 tokens, each some stretches of 248 and a rest.
  constexpr std::size_t kTokens = 10'000;
  for (const std::size_t k : {1, 2, 3, 4, 6, 8, 11}) {
    for (const std::size_t experts : {60, 127, 256, 300}) {
      const auto check = [&]<class T>(NpyType type, T repeated) {
        if (experts > std::size_t{std::numeric_limits<T>::max()} + 1) {
          return;
        }
        INFO("k " << k << ", experts " << experts << ", " << name_of(type));
        Case given = distinct_ids<T>(seed++, type, kTokens, 3, k, experts);
        const auto scan = [&] { return scan_ids(given.ids, given.layers, std::nullopt, Fillers::kRefuse, "x", pool); };
        CHECK(scan().rows_with_duplicates == 0);
        check_against_definition(given, scan());
        // A row in the middle of a stretch and the last one, all alike.
        for (const std::size_t token : {std::size_t{1000}, kTokens - 1}) {
          for (std::size_t slot = 0; slot < k; ++slot) {
            put<T>(given, (token * 3 + 1) * k + slot, repeated);
          }
        }
        CHECK(scan().rows_with_duplicates == (k > 1 ? 2 : 0));
        check_against_definition(given, scan());
      };
      check(NpyType::kUint8, std::uint8_t{5});
      check(NpyType::kInt8, std::int8_t{5});
      check(NpyType::kUint16, std::uint16_t{5});
      check(NpyType::kInt32, std::int32_t{5});
      check(NpyType::kUint64, std::uint64_t{5});
    }
  }
}

TEST_CASE("id scan: ids out of range are found among thousands of good ones") {
  const TaskPool pool(1);
  const auto error_with = [&]<class T>(NpyType type, std::size_t experts, T bad) {
    Case given = distinct_ids<T>(9, type, 5000, 4, 6, 100);
    put<T>(given, (3210 * 4 + 2) * 6 + 3, bad);
    return error_of([&] { scan_ids(given.ids, given.layers, experts, Fillers::kRefuse, "x", pool); });
  };
  // 100 and 127 have no bit that ids below 100 do not have.
  CHECK(error_with(NpyType::kUint8, 100, std::uint8_t{100}) ==
        "x: expected expert ids from 0 to 99, found 100 at token 3210, layer 2, slot 3");
  CHECK(error_with(NpyType::kUint8, 100, std::uint8_t{255}) ==
        "x: expected expert ids from 0 to 99, found 255 at token 3210, layer 2, slot 3");
  CHECK(error_with(NpyType::kUint16, 100, std::uint16_t{127}) ==
        "x: expected expert ids from 0 to 99, found 127 at token 3210, layer 2, slot 3");
  CHECK(error_with(NpyType::kInt8, 100, std::int8_t{-2}) ==
        "x: expected expert ids from 0 to 99, found -2 at token 3210, layer 2, slot 3");
  // 2^32 + 5 is not 5.
  CHECK(error_with(NpyType::kInt64, 100, std::int64_t{4294967301}) ==
        "x: expected expert ids from 0 to 99, found 4294967301 at token 3210, layer 2, slot 3");
}

TEST_CASE("id scan: an id beyond 255 late in the file widens what was counted by sets") {
  Case given = distinct_ids<std::int32_t>(11, NpyType::kInt32, 5000, 4, 6, 200);
  put<std::int32_t>(given, (4321 * 4 + 2) * 6 + 3, 1000);
  const IdScan scan = scan_ids(given.ids, given.layers, std::nullopt, Fillers::kRefuse, "x", TaskPool(1));
  CHECK(scan.experts == 1001);
  check_against_definition(given, scan);
}

TEST_CASE("id sets: wide and portable kernels count as a loop does, for every width and k") {
  for (const std::size_t k : {1, 2, 3, 4, 6, 8, 11}) {
    const auto check = [&]<class T>(NpyType type, T) {
      INFO("k " << k << ", " << name_of(type));
      constexpr std::size_t kTokens = SetCounter::kMostTokens;
      Case given = random_ids<T>(20 + k, type, kTokens, 3, k, 256);
      given.layers = {0, 2};
      // Each id once a row, however often it stands there.
      std::vector<std::uint8_t> expected(2 * SetCounter::kIds, 0);
      for (std::size_t row = 0; row < kTokens * 2; ++row) {
        std::set<std::size_t> ids;
        for (std::size_t slot = 0; slot < k; ++slot) {
          const std::size_t at = (row / 2 * 3 + given.layers[row % 2]) * k + slot;
          ids.insert(static_cast<std::size_t>(id_at(type, given.ids.data, at)));
        }
        for (const std::size_t id : ids) {
          ++expected[row % 2 * SetCounter::kIds + id];
        }
      }
      const SetKernel wide = wide_set_kernel(type, k);
      for (const SetKernel kernel : {portable_set_kernel(type, k), wide}) {
        if (kernel == nullptr) {
          WARN("no vectors of 32 bytes here");
          continue;
        }
        SetCounter counter(given.ids, given.layers, kernel);
        // Twice: what was taken is gone.
        for (int time = 0; time < 2; ++time) {
          for (std::size_t token = 0; token < kTokens; token += SetCounter::kTokens) {
            counter.add(token);
          }
          const auto counts = counter.take();
          CHECK(std::equal(counts.begin(), counts.end(), expected.begin(), expected.end()));
        }
      }
    };
    check(NpyType::kUint8, std::uint8_t{});
    check(NpyType::kUint16, std::uint16_t{});
    check(NpyType::kInt32, std::int32_t{});
    check(NpyType::kUint64, std::uint64_t{});
  }
}

TEST_CASE("id scan: stretches that sets cannot count, now and then or mostly, change no count") {
  // 16 windows of 1000 tokens are five stretches each. Ids beyond 255 and rows that name an expert twice, every so many
  // tokens: in one stretch of all, in about half of them, and in each.
  for (const std::size_t every : {16'000, 500, 10}) {
    INFO("every " << every);
    Case given = distinct_ids<std::int32_t>(31, NpyType::kInt32, 16'000, 2, 4, 256);
    for (std::size_t token = every / 2; token < given.ids.tokens; token += every) {
      put<std::int32_t>(given, token * 8, 300);
      put(given, token * 8 + 4, static_cast<std::int32_t>(id_at(NpyType::kInt32, given.ids.data, token * 8 + 5)));
    }
    const IdScan scan = scan_ids(given.ids, given.layers, std::nullopt, Fillers::kRefuse, "x", TaskPool(1));
    CHECK(scan.experts == 301);
    CHECK(scan.rows_with_duplicates == given.ids.tokens / every);
    check_against_definition(given, scan);
  }
}

TEST_CASE("id sets: adding tokens tells all bits of their ids in the layers asked for") {
  for (const std::size_t k : {1, 3, 8}) {
    const auto check = [&]<class T>(NpyType type, T, std::size_t layers) {
      INFO("k " << k << ", " << name_of(type) << ", layers " << layers);
      Case given = random_ids<T>(40 + k, type, SetCounter::kTokens, 40, k, 128);
      given.layers.resize(layers);
      put<T>(given, (7 * 40 + layers - 1) * k + k - 1, std::numeric_limits<T>::min());  // of the last token and layer
      if (layers < 40) {
        put<T>(given, layers * k, std::numeric_limits<T>::max());  // nobody asks for it
      }
      std::uint64_t expected = 0;
      for (std::size_t row = 0; row < SetCounter::kTokens * layers; ++row) {
        for (std::size_t slot = 0; slot < k; ++slot) {
          const std::size_t at = (row / layers * 40 + row % layers) * k + slot;
          expected |= static_cast<std::make_unsigned_t<T>>(id_at(type, given.ids.data, at));
        }
      }
      for (const SetKernel kernel : {portable_set_kernel(type, k), wide_set_kernel(type, k)}) {
        if (kernel != nullptr) {
          CHECK(SetCounter(given.ids, given.layers, kernel).add(0) == expected);
        }
      }
    };
    for (const std::size_t layers : {40, 39}) {
      check(NpyType::kInt8, std::int8_t{}, layers);
      check(NpyType::kUint16, std::uint16_t{}, layers);
      check(NpyType::kInt32, std::int32_t{}, layers);
      check(NpyType::kInt64, std::int64_t{}, layers);
    }
  }
}

TEST_CASE("id scan: some layers only, and windows that add up to the tokens") {
  const TaskPool pool(1);
  // 100,000 tokens are several blocks of 64 KiB in each of 16 windows; layers 1 and 3 of 4 are asked for.
  Case given = random_ids<std::uint8_t>(7, NpyType::kUint8, 100'000, 4, 2, 20);
  given.layers = {1, 3};
  const IdScan scan = scan_ids(given.ids, given.layers, 20, Fillers::kRefuse, "x", pool);
  check_against_definition(given, scan);
  REQUIRE(scan.windows == 16);
  for (std::size_t window = 0; window < scan.windows; ++window) {
    // 100,000/16 tokens · k in each layer.
    const auto first = scan.counts.begin() + static_cast<std::ptrdiff_t>(window * 2 * 20);
    CHECK(std::accumulate(first, first + 20, std::uint64_t{0}) == 12'500);
  }
}

TEST_CASE("id scan: any number of threads gives the same") {
  const Case given = random_ids<std::int32_t>(3, NpyType::kInt32, 20'000, 6, 8, 200);
  const IdScan one = scan_ids(given.ids, given.layers, std::nullopt, Fillers::kRefuse, "x", TaskPool(1));
  const IdScan two = scan_ids(given.ids, given.layers, std::nullopt, Fillers::kRefuse, "x", TaskPool(2));
  CHECK(one.counts == two.counts);
  CHECK(one.experts == two.experts);
  CHECK(one.rows_with_duplicates == two.rows_with_duplicates);
}

TEST_CASE("id scan: layers of nothing but -1 are left out or refused, other fillers always refused") {
  const std::vector<std::size_t> layers = {0, 1};
  const TaskPool pool(1);
  const auto scan = [&](const std::vector<long long>& values, Fillers fillers) {
    const std::string data = raw<std::int32_t>(values);
    const IdArray ids{bytes_of(data), NpyType::kInt32, 2, 2, 2};
    return scan_ids(ids, layers, 4, fillers, "x", pool);
  };
  // Two tokens, layer 0 dense.
  const std::vector<long long> dense = {-1, -1, 0, 1, -1, -1, 3, 2};
  CHECK(scan(dense, Fillers::kEmptyLayers).layers == std::vector<std::size_t>{1});
  CHECK(error_of([&] { scan(dense, Fillers::kRefuse); }) ==
        "x: expected expert ids from 0 to 3, found -1 at token 0, layer 0, slot 0 (a filler of an incomplete "
        "recording: cut these tokens off; choices that a router dropped are read for models with a capacity factor, "
        "and by trace info --dropped)");
  CHECK(error_of([&] { scan({0, 1, 2, 3, -1, -1, 3, 2}, Fillers::kEmptyLayers); }) ==
        "x: expected expert ids from 0 to 3, found -1 at token 1, layer 0, slot 0 (a filler of an incomplete "
        "recording: cut these tokens off; choices that a router dropped are read for models with a capacity factor, "
        "and by trace info --dropped)");
  CHECK(error_of([&] { scan(std::vector<long long>(8, -1), Fillers::kEmptyLayers); }) ==
        "x: expected expert ids, found nothing but -1");
  CHECK(error_of([&] { scan({0, 1, 2, 3, 0, 1, -2, 2}, Fillers::kEmptyLayers); }) ==
        "x: expected expert ids from 0 to 3, found -2 at token 1, layer 1, slot 0");
}

namespace {

/// Two tokens, two layers, k = 2; expert 3 of token 0 in layer 1 and everything of token 1 in layer 0 was dropped.
template <class T>
void check_dropped(NpyType type) {
  const std::string data = raw<T>({0, 1, -1, 3, -1, -1, 3, 2});
  const IdArray ids{bytes_of(data), type, 2, 2, 2};
  const std::vector<std::size_t> layers = {0, 1};
  for (const std::optional<std::size_t> experts : {std::optional<std::size_t>(), std::optional<std::size_t>(4)}) {
    INFO(name_of(type) << (experts ? ", experts known" : ""));
    const IdScan scan = scan_ids(ids, layers, experts, Fillers::kDropped, "x", TaskPool(1));
    CHECK(scan.dropped == 3);
    CHECK(scan.experts == 4);
    CHECK(scan.layers == layers);
    std::vector<std::uint64_t> sums(8, 0);
    for (std::size_t i = 0; i < scan.counts.size(); ++i) {
      sums[i % 8] += scan.counts[i];
    }
    CHECK(sums == std::vector<std::uint64_t>{1, 1, 0, 0, 0, 0, 1, 2});
    CHECK_THROWS_AS(scan_ids(ids, layers, experts, Fillers::kRefuse, "x", TaskPool(1)), ConfigError);
  }
  const std::string nothing = raw<T>({-1, -1, -1, -1});
  CHECK_THROWS_AS(
      scan_ids({bytes_of(nothing), type, 1, 2, 2}, layers, std::nullopt, Fillers::kDropped, "x", TaskPool(1)),
      ConfigError);
}

}  // namespace

TEST_CASE("id scan: dropped choices are counted apart, whatever the width of the type") {
  check_dropped<std::int8_t>(NpyType::kInt8);
  check_dropped<std::int16_t>(NpyType::kInt16);
  check_dropped<std::int32_t>(NpyType::kInt32);
  check_dropped<std::int64_t>(NpyType::kInt64);
}

TEST_CASE("id scan: more layers and experts than are counted still have their ids checked") {
  // 100 layers of ids up to 60,000 are 6.4 million cells: not counted. The large id comes in a later block of 64 KiB.
  const TaskPool pool(1);
  const std::size_t layers = 100;
  std::vector<std::size_t> all(layers);
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::vector<long long> values(2000 * layers, 3);
  values[7] = 700;
  values[values.size() - 2] = 60'000;
  const std::string data = raw<std::uint16_t>(values);
  const IdArray ids{bytes_of(data), NpyType::kUint16, 2000, layers, 1};
  const IdScan scan = scan_ids(ids, all, std::nullopt, Fillers::kRefuse, "x", pool);
  CHECK(scan.experts == 60'001);
  CHECK(scan.counts.empty());
  CHECK(error_of([&] { scan_ids(ids, all, 50'000, Fillers::kRefuse, "x", pool); }) ==
        "x: expected expert ids from 0 to 49999, found 60000 at token 1999, layer 98, slot 0");
}
