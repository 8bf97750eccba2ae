#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "sim/core/error.hpp"
#include "workloads/routing/formats/choices.hpp"
#include "workloads/routing/formats/readers.hpp"
#include "workloads/routing/formats/scratch_file.hpp"

namespace moesim {

namespace {

constexpr std::string_view kLengths = "sequence_lengths";
constexpr std::string_view kExperts = "experts";

/// The arrays that hold choices, in the archive's order, all of one type, layer count and k.
std::vector<const NpzMember*> choices_in(const NpzArchive& archive) {
  std::vector<const NpzMember*> found;
  for (const NpzMember& member : archive.members()) {
    if (member.header.shape.size() != 3) {
      continue;
    }
    const IdArray ids = ids_of(member.header, {}, member.place);
    if (!found.empty()) {
      const NpzMember& first = *found.front();
      if (ids.type != first.header.type || ids.layers != first.header.shape[1] || ids.k != first.header.shape[2]) {
        throw ConfigError({member.place, {}},
                          fmt::format("expected {} [tokens, {}, {}], as {} is, found {} [{}]",
                                      name_of(first.header.type), first.header.shape[1], first.header.shape[2],
                                      first.name, name_of(ids.type), fmt::join(member.header.shape, ", ")));
      }
    }
    found.push_back(&member);
  }
  return found;
}

}  // namespace

bool is_choices_npz(const NpzArchive& archive) {
  return std::any_of(archive.members().begin(), archive.members().end(), [](const NpzMember& member) {
    return member.header.shape.size() == 3 && is_integer(member.header.type);
  });
}

Recording read_choices_npz(const std::filesystem::path& path, const TraceOptions& options) {
  Recording recording = read_choices_npz(NpzArchive::open(path), options);
  recording.files = {path};
  return recording;
}

Recording read_choices_npz(const NpzArchive& archive, const TraceOptions& options) {
  const std::vector<const NpzMember*> arrays = choices_in(archive);
  if (arrays.empty()) {
    const auto shape_of = [](const NpzMember& member) {
      return fmt::format("{} {} [{}]", member.name, name_of(member.header.type), fmt::join(member.header.shape, ", "));
    };
    throw ConfigError({archive.name(), {}},
                      fmt::format("expected integer arrays [tokens, layers, k] in the archive, found {}",
                                  archive.members().empty() ? "none" : shape_of(archive.members().front())));
  }
  TokenArray trace{.name = archive.name(), .ids = ids_of(arrays.front()->header, {}, arrays.front()->place)};
  ScratchFile scratch;
  trace.ids.tokens = 0;
  for (const NpzMember* member : arrays) {
    archive.read(*member, 1, [&](std::span<const std::byte> piece) { scratch.append(piece); });
    const std::size_t tokens = member->header.shape[0];
    trace.ids.tokens += tokens;
    if (tokens > 0 && arrays.size() > 1) {
      trace.sequence_lengths.push_back(tokens);
    }
  }
  const auto mapped = scratch.map();
  trace.ids.data = mapped->bytes();
  trace.owner = mapped;

  Recording recording{.format = "npz", .data = CountTrace{}};
  for (const NpzMember& member : archive.members()) {
    if (member.name == kLengths && arrays.size() == 1) {
      for (const std::int64_t length : archive.integers(member, 1)) {
        if (length < 1 || length > static_cast<std::int64_t>(trace.ids.tokens)) {
          throw ConfigError({member.place, {}}, fmt::format("expected lengths from 1 to the {} tokens, found {}",
                                                            trace.ids.tokens, length));
        }
        trace.sequence_lengths.push_back(static_cast<std::size_t>(length));
      }
    } else if (member.name == kExperts && member.header.elements() == 1) {
      const std::int64_t experts = archive.integers(member, member.header.shape.size()).front();
      constexpr std::int64_t kMost = 65536;
      if (experts < 1 || experts > kMost) {
        throw ConfigError({member.place, {}}, fmt::format("expected 1 to {} experts, found {}", kMost, experts));
      }
      trace.experts = static_cast<std::size_t>(experts);
    } else if (member.header.shape.size() != 3) {
      recording.notes.push_back(fmt::format("{}: not read", member.place));
    }
  }
  recording.data = TokenTrace::from_array(std::move(trace), options);
  return recording;
}

}  // namespace moesim
