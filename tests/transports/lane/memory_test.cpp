// tests/transports/lane/memory_test.cpp: what a peer can do to memory that it was passed: read.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include "bus/core/errc.hpp"
#include "transports/lane/memory.hpp"

using namespace bus;
using lane::Page;
using lane::Ring;

namespace {

os::Fd plain_memfd(off_t size, int seals, bool allocate) {
  os::Fd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(fd);
  REQUIRE(ftruncate(fd.get(), size) == 0);
  if (allocate) REQUIRE(posix_fallocate(fd.get(), 0, size) == 0);
  REQUIRE(fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}

std::error_code code_of_mapping(int fd, std::size_t capacity) {
  try {
    const Ring ring = Ring::map(fd, capacity);
    return {};
  } catch (const Error& e) {
    return e.code();
  }
}

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

}  // namespace

TEST_CASE("a ring that was passed on can be neither resized nor written", "[lane]") {
  const Ring ring = Ring::make(8192);
  const int fd = ring.memfd();
  REQUIRE(ftruncate(fd, 0) == -1);
  REQUIRE(errno == EPERM);
  REQUIRE(ftruncate(fd, 1 << 20) == -1);
  const char byte = 'x';
  REQUIRE(pwrite(fd, &byte, 1, 0) == -1);
  REQUIRE(errno == EPERM);
  REQUIRE(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  REQUIRE(errno == EPERM);
  REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == -1);  // the set of seals is closed, too
}

TEST_CASE("both halves of a ring are the same memory, for writer and reader", "[lane]") {
  const Ring mine = Ring::make(4096);
  const Ring theirs = Ring::map(mine.memfd(), 4096);
  mine.at(4096 - 64).payload()[60] = std::byte{42};  // four bytes behind the end of the first half
  REQUIRE(theirs.at(0).payload()[-4] == std::byte{42});
  REQUIRE(theirs.at(4096 - 64).payload()[60] == std::byte{42});
}

TEST_CASE("memory of a peer that could shrink, has holes or another size is refused", "[lane]") {
  REQUIRE_FALSE(code_of_mapping(plain_memfd(8192, kSizeSeals, true).get(), 8192));
  REQUIRE(code_of_mapping(plain_memfd(8192, F_SEAL_GROW, true).get(), 8192) == Errc::corrupt);
  REQUIRE(code_of_mapping(plain_memfd(8192, kSizeSeals, false).get(), 8192) == Errc::corrupt);
  REQUIRE(code_of_mapping(plain_memfd(4096, kSizeSeals, true).get(), 8192) == Errc::corrupt);
  REQUIRE(code_of_mapping(plain_memfd(12288, kSizeSeals, true).get(), 12288) == Errc::corrupt);
  const os::Fd event = os::make_event();
  REQUIRE(code_of_mapping(event.get(), 8192) == Errc::corrupt);
}

TEST_CASE("a status page of another layout is refused by version, and one without magic as corrupt", "[lane]") {
  const Page page = Page::make();
  REQUIRE_NOTHROW(Page::map(page.memfd()));
  page.status().version.store(lane::kVersion + 1);
  try {
    static_cast<void>(Page::map(page.memfd()));
    FAIL("it was taken");
  } catch (const Error& e) {
    REQUIRE(e.code() == Errc::version_mismatch);
    REQUIRE(std::string(e.what()).find("have 1, peer 2") != std::string::npos);
  }
  page.status().magic.store(0);
  REQUIRE_THROWS_AS(Page::map(page.memfd()), Error);
}

TEST_CASE("memory that cannot be had is an error at creation that says what to do", "[lane]") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  std::error_code code;
  std::string text;
  try {
    static_cast<void>(Ring::make(8192));
  } catch (const Error& e) {
    code = e.code();
    text = e.what();
  }
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(code == Errc::no_room);
  REQUIRE(text.find("descriptors") != std::string::npos);
}
