#include "workloads/routing/formats/npz.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <system_error>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "workloads/routing/formats/zip_handle.hpp"
#include "workloads/routing/id_scan.hpp"

namespace moesim {

namespace {

constexpr std::size_t kUnpackedPiece = std::size_t{1} << 20;
constexpr std::string_view kNpyEnding = ".npy";

[[noreturn]] void fail_member(const std::string& name, std::string message) {
  throw ConfigError({name, {}}, std::move(message));
}

std::string text_of(int code) {
  if (code == ZIP_ER_NOZIP) {
    return "a file that has no zip directory at its end: truncated, or of another kind";
  }
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

/// Reads up to `out.size()` bytes; fewer only at the end.
std::size_t read_some(zip_file_t* file, std::span<std::byte> out, const std::string& place) {
  std::size_t done = 0;
  while (done < out.size()) {
    const zip_int64_t got = zip_fread(file, out.data() + done, out.size() - done);
    if (got < 0) {
      fail_member(place, fmt::format("expected a whole array, found a damaged one: {}", zip_file_strerror(file)));
    }
    if (got == 0) {
      break;
    }
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace

struct NpzArchive::State {
  std::string name;
  ZipArchive archive;
  std::vector<NpzMember> members;

  [[nodiscard]] ZipFile open(std::uint64_t index, const std::string& place) const {
    ZipFile file(zip_fopen_index(archive.get(), index, 0));
    if (!file) {
      fail_member(place, fmt::format("expected an array that can be unpacked, found: {}", zip_strerror(archive.get())));
    }
    return file;
  }
};

NpzArchive::NpzArchive(std::unique_ptr<State> state) : state_(std::move(state)) {}
NpzArchive::~NpzArchive() = default;
NpzArchive::NpzArchive(NpzArchive&&) noexcept = default;
NpzArchive& NpzArchive::operator=(NpzArchive&&) noexcept = default;

NpzArchive NpzArchive::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  state->name = path.string();
  static_cast<void>(MappedFile(path));  // whose messages about files that cannot be opened are the house's own
  int code = 0;
  state->archive.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (!state->archive) {
    fail_member(state->name, fmt::format("expected an .npz archive, found {}", text_of(code)));
  }
  return read_directory(std::move(state));
}

NpzArchive NpzArchive::from_bytes(std::span<const std::byte> file, const std::string& name) {
  auto state = std::make_unique<State>();
  state->name = name;
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(file.data(), file.size(), 0, &error);
  if (source != nullptr) {
    state->archive.reset(zip_open_from_source(source, ZIP_RDONLY, &error));
    if (!state->archive) {
      zip_source_free(source);
    }
  }
  const std::string found = text_of(zip_error_code_zip(&error));
  zip_error_fini(&error);
  if (!state->archive) {
    fail_member(name, fmt::format("expected an .npz archive, found {}", found));
  }
  return read_directory(std::move(state));
}

NpzArchive NpzArchive::read_directory(std::unique_ptr<State> state) {
  const auto entries = static_cast<std::uint64_t>(zip_get_num_entries(state->archive.get(), 0));
  for (std::uint64_t index = 0; index < entries; ++index) {
    zip_stat_t status;
    zip_stat_init(&status);
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE;
    if (zip_stat_index(state->archive.get(), index, 0, &status) != 0 || (status.valid & kNeeded) != kNeeded) {
      fail_member(state->name, fmt::format("expected a name and a size of member {}, found none", index));
    }
    const std::string_view file_name = status.name;
    if (!file_name.ends_with(kNpyEnding)) {
      fail_member(state->name, fmt::format("expected arrays (.npy) in the archive, found {}", Json(file_name).dump()));
    }
    NpzMember member;
    member.name = file_name.substr(0, file_name.size() - kNpyEnding.size());
    member.index = index;
    member.place = fmt::format("{}#/{}", state->name, member.name);
    // numpy's headers are of 128 bytes; 64 KiB is the most that format 1.0 can say.
    constexpr std::size_t kMostHeader = std::size_t{1} << 16;
    std::vector<std::byte> beginning(std::min<std::size_t>(kMostHeader, status.size));
    const ZipFile file = state->open(index, member.place);
    if (read_some(file.get(), beginning, member.place) != beginning.size()) {
      fail_member(member.place, fmt::format("expected {} bytes, found fewer: the archive is truncated", status.size));
    }
    member.header = parse_npy_header(beginning, member.place, status.size);
    state->members.push_back(std::move(member));
  }
  return NpzArchive(std::move(state));
}

const std::string& NpzArchive::name() const { return state_->name; }
std::span<const NpzMember> NpzArchive::members() const { return state_->members; }

const NpzMember* NpzArchive::find(std::string_view name) const {
  const auto found = std::find_if(state_->members.begin(), state_->members.end(),
                                  [&](const NpzMember& member) { return member.name == name; });
  return found == state_->members.end() ? nullptr : &*found;
}

const NpzMember& NpzArchive::at(std::string_view name) const {
  const NpzMember* member = find(name);
  if (member == nullptr) {
    std::vector<std::string> names;
    for (const NpzMember& other : state_->members) {
      names.push_back(other.name);
    }
    fail_member(state_->name,
                fmt::format("expected an array \"{}\" in the archive, found {}", name, fmt::join(names, ", ")));
  }
  return *member;
}

void NpzArchive::read(const NpzMember& member, std::size_t unit,
                      const std::function<void(std::span<const std::byte>)>& sink) const {
  const ZipFile file = state_->open(member.index, member.place);
  std::vector<std::byte> piece(std::max(kUnpackedPiece / unit, std::size_t{1}) * unit);
  const std::span<std::byte> header = std::span(piece).first(std::min(piece.size(), member.header.data_offset));
  std::size_t skipped = 0;
  while (skipped < member.header.data_offset) {
    const auto part = header.first(std::min(header.size(), member.header.data_offset - skipped));
    if (read_some(file.get(), part, member.place) != part.size()) {
      fail_member(member.place, "expected a whole array, found a truncated one");
    }
    skipped += part.size();
  }
  std::size_t left = member.bytes();
  // The last read, of nothing, makes libzip compare the checksum.
  while (true) {
    const std::size_t got = read_some(file.get(), piece, member.place);
    if (got > left || (got < piece.size() && got != left)) {
      fail_member(member.place,
                  fmt::format("expected {} bytes of data, found {}", member.bytes(), member.bytes() - left + got));
    }
    left -= got;
    if (got > 0) {
      sink(std::span(piece).first(got));
    }
    if (got < piece.size()) {
      break;
    }
  }
}

std::vector<std::int64_t> NpzArchive::integers(const NpzMember& member, std::size_t dimensions) const {
  const NpyHeader& header = member.header;
  if (!is_integer(header.type) || header.shape.size() != dimensions) {
    fail_member(member.place,
                fmt::format("expected integers of {} dimension{}, found {} [{}]", dimensions,
                            dimensions == 1 ? "" : "s", name_of(header.type), fmt::join(header.shape, ", ")));
  }
  constexpr std::size_t kMost = std::size_t{1} << 26;
  if (header.elements() > kMost) {
    fail_member(member.place, fmt::format("expected at most {} elements, found {}", kMost, header.elements()));
  }
  std::vector<std::int64_t> values;
  values.reserve(header.elements());
  read(member, size_of(header.type), [&](std::span<const std::byte> piece) {
    for (std::size_t i = 0; i < piece.size() / size_of(header.type); ++i) {
      values.push_back(id_at(header.type, piece, i));
    }
  });
  return values;
}

std::vector<std::string> zip_names(const std::filesystem::path& path) {
  int code = 0;
  const ZipArchive archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
  std::vector<std::string> names;
  const zip_int64_t entries = archive ? zip_get_num_entries(archive.get(), 0) : 0;
  for (zip_int64_t index = 0; index < entries; ++index) {
    const char* name = zip_get_name(archive.get(), static_cast<zip_uint64_t>(index), 0);
    names.emplace_back(name == nullptr ? "" : name);
  }
  return names;
}

}  // namespace moesim
