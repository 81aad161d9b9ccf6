// tests/support/failing_allocations.cpp: operator new and delete over malloc, counted.
#include "tests/support/failing_allocations.hpp"

#include <malloc.h>

#include <cstdlib>
#include <new>

namespace bus::test {
namespace {

thread_local std::size_t until_failure = 0;  // 0: none is to fail
thread_local bool failed = false;
thread_local std::ptrdiff_t allocated = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  if (until_failure > 0 && --until_failure == 0) {
    failed = true;
    throw std::bad_alloc();
  }
  if (size == 0) size = 1;
  void* const memory = alignment > alignof(std::max_align_t)
                           ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                           : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  allocated += static_cast<std::ptrdiff_t>(::malloc_usable_size(memory));
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  allocated -= static_cast<std::ptrdiff_t>(::malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

FailingAllocation::FailingAllocation(std::size_t nth) noexcept {
  failed = false;
  until_failure = nth;
}
FailingAllocation::~FailingAllocation() { until_failure = 0; }
bool FailingAllocation::happened() noexcept { return failed; }

std::ptrdiff_t allocated_bytes() noexcept { return allocated; }

}  // namespace bus::test

// The forms for arrays call these, or those of a sanitizer each other. Those with std::nothrow are here because a
// sanitizer's would not fit the delete below.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return bus::test::allocate(size, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { bus::test::release(memory); }
void* operator new(std::size_t size) { return bus::test::allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return bus::test::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { bus::test::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { bus::test::release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { bus::test::release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { bus::test::release(memory); }
