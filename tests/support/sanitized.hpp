// tests/support/sanitized.hpp: whether this build has a sanitizer, for what it forbids or makes many times slower.
// g++ says it with macros, clang 14 with features.
#pragma once

#if defined(__has_feature)
#define BUS_TEST_HAS_FEATURE(x) __has_feature(x)
#else
#define BUS_TEST_HAS_FEATURE(x) 0
#endif

namespace bus::test {

#if defined(__SANITIZE_ADDRESS__) || BUS_TEST_HAS_FEATURE(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || BUS_TEST_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

inline constexpr bool kSanitized = kAddressSanitizer || kThreadSanitizer;

/// Repetitions of what has one thread, and so nothing for ThreadSanitizer to find: fewer there, where each takes long.
[[nodiscard]] constexpr unsigned repetitions(unsigned count) { return kThreadSanitizer ? count / 8 : count; }

}  // namespace bus::test

#undef BUS_TEST_HAS_FEATURE
