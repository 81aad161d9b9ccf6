// tests/support/catch.hpp: Catch2, and how it prints our types. All tests are compiled with it (precompiled header).
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "bus/core/result.hpp"

namespace Catch {

/// A Result in a failed assertion: whether there is a value, or which error.
template <class T>
struct StringMaker<bus::Result<T>> {
  static std::string convert(const bus::Result<T>& result) {
    return result ? "a value" : "error " + result.error().message();
  }
};

}  // namespace Catch
