// tools/measure/environment_build.cpp: what was built, and with which libraries it runs. Compiled with BUS_BUILD_FLAGS
// and BUS_BUILD_TYPE.
#include "tools/measure/environment_capture.hpp"

#include <gnu/libc-version.h>

#include <algorithm>
#include <boost/version.hpp>
#include <cstdlib>

#include "bus/core/version.hpp"

#ifndef BUS_BUILD_FLAGS
#define BUS_BUILD_FLAGS "unknown"
#endif
#ifndef BUS_BUILD_TYPE
#define BUS_BUILD_TYPE "unknown"
#endif

namespace bus::tools::measure {

void Capture::build() {
  group("build");
  add("version", std::string(version()));
  add("build", std::string(bus::build()));
#if defined(__clang__)
  add("compiler", "clang++ " __clang_version__);
#elif defined(__GNUC__)
  add("compiler", "g++ " __VERSION__);
#else
  add("compiler", std::nullopt);
#endif
  std::vector<std::string> flags = words_of(BUS_BUILD_FLAGS);
  if (anonymise_)
    std::transform(flags.begin(), flags.end(), flags.begin(), [](const auto& f) { return anonymised(f); });
  add("flags", joined(flags, " "));
  add("type", BUS_BUILD_TYPE);
#ifdef NDEBUG
  add("assertions", "off");
#else
  add("assertions", "on");
#endif
}

void Capture::libraries() {
  group("libraries");
  add("libc", std::string("glibc ") + ::gnu_get_libc_version());  // the one that runs, not that of the build
#ifdef _GLIBCXX_RELEASE
  add("libstdc++", std::to_string(_GLIBCXX_RELEASE) + " (" + std::to_string(__GLIBCXX__) + ")");
#else
  add("libstdc++", std::nullopt);
#endif
  add("boost", std::to_string(BOOST_VERSION / 100000) + "." + std::to_string(BOOST_VERSION / 100 % 1000) + "." +
                   std::to_string(BOOST_VERSION % 100));
  // ld.so(8): another malloc changes figures. Only the bare names.
  const char* const preloaded = std::getenv("LD_PRELOAD");
  std::vector<std::string> names = words_of(preloaded == nullptr ? "" : preloaded);
  for (std::string& name : names) name.erase(0, name.rfind('/') + 1);
  add("preloaded", names.empty() ? "none" : joined(names, " "));
  const char* const tunables = std::getenv("GLIBC_TUNABLES");
  add("glibc_tunables", tunables == nullptr || *tunables == '\0' ? "none" : tunables);
}

}  // namespace bus::tools::measure
