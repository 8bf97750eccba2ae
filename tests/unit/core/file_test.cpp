#include "sim/core/file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <span>

#include "sim/core/error.hpp"
#include "tests/scratch.hpp"

using namespace moesim;
namespace fs = std::filesystem;

namespace {

using Folder = moesim::test::ScratchFolder;

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("what was written is read back, and nothing else is left in the folder") {
  const Folder folder;
  const fs::path path = folder.path() / "new" / "deep" / "file.txt";  // folders are made
  const std::string content = std::string("line\n\0binary\xff", 13);
  write_file(path, content);
  CHECK(read_file(path) == content);
  write_file(path, "shorter");
  CHECK(read_file(path) == "shorter");
  write_file(path, "");
  CHECK(read_file(path).empty());
  CHECK(names_in(path.parent_path()) == std::set<std::string>{"file.txt"});
}

TEST_CASE("a file that cannot be moved into place leaves what was there and no part file") {
  const Folder folder;
  fs::create_directories(folder.path() / "target" / "inside");  // a folder that is not empty: rename fails
  CHECK_THROWS_AS(write_file(folder.path() / "target", "text"), ConfigError);
  CHECK(names_in(folder.path()) == std::set<std::string>{"target"});
  CHECK(fs::exists(folder.path() / "target" / "inside"));
}

TEST_CASE("files that cannot be read or written are named") {
  const Folder folder;
  const std::string missing = (folder.path() / "missing").string();
  CHECK_THROWS_WITH(read_file(missing), missing + ": cannot open the file: No such file or directory");
  CHECK_THROWS_WITH(MappedFile(missing), missing + ": cannot open the file: No such file or directory");
  CHECK_THROWS_WITH(read_file(folder.path()), folder.path().string() + ": expected a file, found a folder or device");
  CHECK_THROWS_WITH(MappedFile("/dev/null"), "/dev/null: expected a file, found a folder or device");

  write_file(folder.path() / "plain", "x");
  const std::string below = (folder.path() / "plain" / "child").string();
  CHECK_THROWS_AS(write_file(below, "x"), ConfigError);
}

TEST_CASE("a pipe is refused without waiting for a writer") {
  const Folder folder;
  const fs::path pipe = folder.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THROWS_WITH(read_file(pipe), pipe.string() + ": expected a file, found a folder or device");
}

TEST_CASE("a mapped file shows the bytes, also after it has moved") {
  const Folder folder;
  const fs::path path = folder.path() / "trace";
  write_file(path, "0123456789");
  MappedFile first(path);
  CHECK(text_of(first.bytes()) == "0123456789");
  CHECK(first.path() == path);
  MappedFile second(std::move(first));
  CHECK(text_of(second.bytes()) == "0123456789");

  write_file(folder.path() / "other", "other");
  MappedFile third(folder.path() / "other");
  third = std::move(second);
  CHECK(text_of(third.bytes()) == "0123456789");
  CHECK(third.path() == path);

  // Written anew means renamed into place: the mapping keeps the old bytes.
  write_file(path, "new");
  CHECK(text_of(third.bytes()) == "0123456789");
}

TEST_CASE("an empty file maps to no bytes") {
  const Folder folder;
  write_file(folder.path() / "empty", "");
  CHECK(MappedFile(folder.path() / "empty").bytes().empty());
}

TEST_CASE("SHA-256 gives the examples of FIPS 180-2") {
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}
