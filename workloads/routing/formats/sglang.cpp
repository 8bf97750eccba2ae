#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "sim/core/error.hpp"
#include "workloads/routing/formats/readers.hpp"
#include "workloads/routing/formats/scratch_file.hpp"

/// What SGLang's recorder holds (python/sglang/srt/eplb/expert_distribution.py), array by array under its own names.
/// Physical experts are the copies that EPLB made: physical_to_logical_map [layers, physical] says of which expert.
namespace moesim {

namespace {

constexpr std::int64_t kMostPhysical = 65536;

[[noreturn]] void fail_array(const std::string& place, std::string message) {
  throw ConfigError({place, {}}, std::move(message));
}

/// Of which expert each physical one is a copy, [layers, physical].
struct PhysicalMap {
  std::size_t layers = 0;
  std::size_t physical = 0;
  std::size_t logical = 0;
  std::vector<std::int64_t> expert;
};

PhysicalMap physical_map(const NpzArchive& archive) {
  const NpzMember& member = archive.at("physical_to_logical_map");
  PhysicalMap map;
  map.expert = archive.integers(member, 2);
  map.layers = member.header.shape[0];
  map.physical = member.header.shape[1];
  for (std::size_t i = 0; i < map.expert.size(); ++i) {
    if (map.expert[i] < 0 || map.expert[i] >= kMostPhysical) {
      fail_array(member.place, fmt::format("expected experts from 0 to {}, found {} at layer {}, physical expert {}",
                                           kMostPhysical - 1, map.expert[i], i / map.physical, i % map.physical));
    }
    map.logical = std::max(map.logical, static_cast<std::size_t>(map.expert[i]) + 1);
  }
  if (map.logical == 0) {
    fail_array(member.place, "expected physical experts, found none");
  }
  return map;
}

/// Counts [records, layers, experts] of the archive, added up to `steps` steps; which step a record belongs to says
/// `step_of`, the expert that its place counts for says `expert_of`.
template <class StepOf, class ExpertOf>
StepCounts add_up(const NpzArchive& archive, const NpzMember& member, std::size_t steps, std::size_t experts,
                  const StepOf& step_of, const ExpertOf& expert_of) {
  const std::vector<std::size_t>& shape = member.header.shape;
  StepCounts result{.place = {archive.name(), "/" + member.name},
                    .steps = steps,
                    .layers = shape[1],
                    .experts = experts,
                    .counts = {}};
  result.counts.assign(steps * result.layers * experts, 0.0);
  const std::size_t size = size_of(member.header.type);
  std::size_t at = 0;
  archive.read(member, size, [&](std::span<const std::byte> piece) {
    for (std::size_t i = 0; i < piece.size() / size; ++i, ++at) {
      const std::int64_t count = id_at(member.header.type, piece, i);
      const std::size_t layer = at / shape[2] % shape[1];
      const std::size_t record = at / shape[2] / shape[1];
      if (count < 0) {
        fail_array(member.place, fmt::format("expected counts from 0 on, found {} at record {}, layer {}, expert {}",
                                             count, record, layer, at % shape[2]));
      }
      result.counts[(step_of(record) * result.layers + layer) * experts + expert_of(layer, at % shape[2])] +=
          static_cast<double>(count);
    }
  });
  return result;
}

/// Checks that an array is of counts with three dimensions, none of them zero or absurd.
void check_count_array(const NpzMember& member) {
  const std::vector<std::size_t>& shape = member.header.shape;
  constexpr std::size_t kMostLayers = std::size_t{1} << 16;
  if (!is_integer(member.header.type) || shape.size() != 3 || std::find(shape.begin(), shape.end(), 0) != shape.end() ||
      shape[1] > kMostLayers || shape[2] > static_cast<std::size_t>(kMostPhysical)) {
    fail_array(member.place, fmt::format("expected counts of an integer type [steps, layers, experts], found {} [{}]",
                                         name_of(member.header.type), fmt::join(shape, ", ")));
  }
}

/// Steps that are kept apart, and what a note says where they are fewer than the recorded ones.
std::size_t steps_kept(const NpzMember& member, std::size_t recorded, std::size_t experts, Recording& recording) {
  const std::size_t layers = member.header.shape[1];
  constexpr std::size_t kMostCells = std::size_t{1} << 24;
  if (layers * experts > kMostCells) {
    fail_array(member.place,
               fmt::format("expected layers and experts of which there are few enough to count them, found {} "
                           "layers of {} experts",
                           layers, experts));
  }
  const std::size_t kept = std::min(recorded, most_steps(layers, experts));
  if (kept < recorded) {
    recording.notes.push_back(fmt::format("{} steps added up to {}", recorded, kept));
  }
  return kept;
}

Recording in_file(Recording recording, const std::filesystem::path& path) {
  recording.files = {path};
  return recording;
}

}  // namespace

Recording read_sglang_json(const std::filesystem::path& path, const TraceOptions&) {
  return {.format = "sglang-json", .data = counts_from_json(Document::read(path)), .files = {path}};
}

bool is_sglang_stat(const NpzArchive& archive) { return archive.find("logical_count") != nullptr; }
bool is_sglang_per_pass(const NpzArchive& archive) {
  return archive.find("global_physical_count") != nullptr && archive.find("topk_ids_of_layer") == nullptr;
}
bool is_sglang_per_token(const NpzArchive& archive) { return archive.find("topk_ids_of_layer") != nullptr; }

Recording read_sglang_stat(const std::filesystem::path& path, const TraceOptions&) {
  return in_file(read_sglang_stat(NpzArchive::open(path)), path);
}
Recording read_sglang_per_pass(const std::filesystem::path& path, const TraceOptions&) {
  return in_file(read_sglang_per_pass(NpzArchive::open(path)), path);
}
Recording read_sglang_per_token(const std::filesystem::path& path, const TraceOptions& options) {
  return in_file(read_sglang_per_token(NpzArchive::open(path), options), path);
}

/// logical_count [steps, layers, experts]: already added up over ranks.
Recording read_sglang_stat(const NpzArchive& archive) {
  const NpzMember& member = archive.at("logical_count");
  check_count_array(member);
  Recording recording{.format = "sglang-stat", .data = CountTrace{}};
  const std::vector<std::size_t>& shape = member.header.shape;
  const std::size_t steps = steps_kept(member, shape[0], shape[2], recording);
  recording.data = counts_of_steps(add_up(
      archive, member, steps, shape[2], [&](std::size_t record) { return record * steps / shape[0]; },
      [](std::size_t, std::size_t expert) { return expert; }));
  return recording;
}

/// global_physical_count [records, layers, physical experts] of one rank and forward pass each, forward_pass_id
/// [records]: added up over the ranks of a pass and over the copies of an expert.
Recording read_sglang_per_pass(const NpzArchive& archive) {
  const NpzMember& member = archive.at("global_physical_count");
  check_count_array(member);
  const std::vector<std::size_t>& shape = member.header.shape;
  const PhysicalMap map = physical_map(archive);
  if (map.layers != shape[1] || map.physical != shape[2]) {
    fail_array(
        archive.at("physical_to_logical_map").place,
        fmt::format("expected [{}, {}], as global_physical_count has layers and physical experts, found [{}, {}]",
                    shape[1], shape[2], map.layers, map.physical));
  }
  const NpzMember& passes_member = archive.at("forward_pass_id");
  const std::vector<std::int64_t> passes = archive.integers(passes_member, 1);
  if (passes.size() != shape[0]) {
    fail_array(passes_member.place,
               fmt::format("expected a number for each of {} records, found {}", shape[0], passes.size()));
  }
  std::map<std::int64_t, std::size_t> order;
  for (const std::int64_t pass : passes) {
    order.emplace(pass, 0);
  }
  std::size_t next = 0;
  for (auto& [pass, place] : order) {
    place = next++;
  }
  Recording recording{.format = "sglang-per-pass", .data = CountTrace{}};
  const std::size_t steps = steps_kept(member, order.size(), map.logical, recording);
  recording.data = counts_of_steps(add_up(
      archive, member, steps, map.logical,
      [&](std::size_t record) { return order.at(passes[record]) * steps / order.size(); },
      [&](std::size_t layer, std::size_t physical) {
        return static_cast<std::size_t>(map.expert[layer * map.physical + physical]);
      }));
  return recording;
}

namespace {

/// The recorder's array of tokens before it is read as a trace.
struct RecordedTokens {
  const NpzMember* member;
  std::shared_ptr<const MappedFile> file;
  std::size_t tokens;
  std::size_t layers;
  std::size_t slots;

  [[nodiscard]] std::int64_t at(std::size_t token, std::size_t layer, std::size_t slot) const {
    return id_at(member->header.type, file->bytes(), (token * layers + layer) * slots + slot);
  }
};

/// The recorder fills eight slots whatever the model's k is, all layers and all tokens of a padded batch with −1
/// first: what nobody wrote to is left out.
struct Written {
  std::vector<std::size_t> tokens;
  std::vector<std::size_t> layers;
  std::size_t k = 0;
};

Written written_parts(const RecordedTokens& recorded) {
  Written written;
  std::vector<char> layer_used(recorded.layers, 0);
  for (std::size_t token = 0; token < recorded.tokens; ++token) {
    bool used = false;
    for (std::size_t layer = 0; layer < recorded.layers; ++layer) {
      for (std::size_t slot = 0; slot < recorded.slots; ++slot) {
        if (recorded.at(token, layer, slot) != -1) {
          used = true;
          layer_used[layer] = 1;
          written.k = std::max(written.k, slot + 1);
        }
      }
    }
    if (used) {
      written.tokens.push_back(token);
    }
  }
  for (std::size_t layer = 0; layer < recorded.layers; ++layer) {
    if (layer_used[layer] != 0) {
      written.layers.push_back(layer);
    }
  }
  if (written.tokens.empty()) {
    fail_array(recorded.member->place, "expected expert ids, found nothing but -1");
  }
  return written;
}

/// Tokens of each stretch of one sequence, less those that were left out.
std::vector<std::size_t> lengths_of(const NpzArchive& archive, const RecordedTokens& recorded, const Written& written) {
  const NpzMember* member = archive.find("sequence_lengths");
  if (member == nullptr) {
    return {};
  }
  std::vector<std::size_t> lengths;
  std::size_t end = 0;
  auto token = written.tokens.begin();
  for (const std::int64_t length : archive.integers(*member, 1)) {
    if (length < 0 || static_cast<std::size_t>(length) > recorded.tokens - end) {
      fail_array(member->place, fmt::format("expected lengths that add up to the {} tokens of {}, found more",
                                            recorded.tokens, recorded.member->name));
    }
    end += static_cast<std::size_t>(length);
    const auto after = std::lower_bound(token, written.tokens.end(), end);
    if (after != token) {
      lengths.push_back(static_cast<std::size_t>(after - token));
    }
    token = after;
  }
  if (end != recorded.tokens) {
    fail_array(member->place, fmt::format("expected lengths that add up to the {} tokens of {}, found {}",
                                          recorded.tokens, recorded.member->name, end));
  }
  return lengths;
}

}  // namespace

/// topk_ids_of_layer [tokens, layers, slots] of physical experts, −1 where nothing was written; sequence_lengths:
/// tokens of each stretch of a sequence in one pass.
Recording read_sglang_per_token(const NpzArchive& archive, const TraceOptions& options) {
  const NpzMember& member = archive.at("topk_ids_of_layer");
  const std::vector<std::size_t>& shape = member.header.shape;
  if (!is_integer(member.header.type) || shape.size() != 3 || std::find(shape.begin(), shape.end(), 0) != shape.end()) {
    fail_array(member.place,
               fmt::format("expected expert ids of an integer type [tokens, layers, slots], found {} [{}]",
                           name_of(member.header.type), fmt::join(shape, ", ")));
  }
  const PhysicalMap map = physical_map(archive);
  if (map.layers != shape[1]) {
    fail_array(archive.at("physical_to_logical_map").place,
               fmt::format("expected {} layers, as topk_ids_of_layer has, found {}", shape[1], map.layers));
  }
  ScratchFile unpacked;
  archive.read(member, 1, [&](std::span<const std::byte> piece) { unpacked.append(piece); });
  const RecordedTokens recorded{&member, unpacked.map(), shape[0], shape[1], shape[2]};
  const Written written = written_parts(recorded);

  ScratchFile logical;
  std::vector<std::uint16_t> row(written.k);
  for (const std::size_t token : written.tokens) {
    for (const std::size_t layer : written.layers) {
      for (std::size_t slot = 0; slot < written.k; ++slot) {
        const std::int64_t id = recorded.at(token, layer, slot);
        if (id < 0 || id >= static_cast<std::int64_t>(map.physical)) {
          fail_array(
              member.place,
              fmt::format("expected physical experts from 0 to {}, found {} at token {}, layer {}, slot "
                          "{}{}",
                          map.physical - 1, id, token, layer, slot, id == -1 ? ", where other tokens have one" : ""));
        }
        row[slot] = static_cast<std::uint16_t>(map.expert[layer * map.physical + static_cast<std::size_t>(id)]);
      }
      logical.append(std::as_bytes(std::span(row)));
    }
  }
  Recording recording{.format = "sglang-per-token", .data = CountTrace{}};
  if (written.tokens.size() < recorded.tokens) {
    recording.notes.push_back(fmt::format("{} tokens of nothing but -1 left out: padding of a batch",
                                          recorded.tokens - written.tokens.size()));
  }
  const auto mapped = logical.map();
  recording.data = TokenTrace::from_array(
      {.name = archive.name(),
       .ids = {mapped->bytes(), NpyType::kUint16, written.tokens.size(), written.layers.size(), written.k},
       .experts = map.logical,
       .sequence_lengths = lengths_of(archive, recorded, written),
       .layer_numbers = written.layers,
       .owner = mapped},
      options);
  return recording;
}

}  // namespace moesim
