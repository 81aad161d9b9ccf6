// tests/transports/mq/buffer_pool_test.cpp: blocks come back from anywhere and are used again.
#include "transports/mq/buffer_pool.hpp"

#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <vector>
#include "tests/support/catch.hpp"

using bus::Message;
using bus::mq::BufferPool;

namespace {

Message filled(BufferPool& pool, int value, std::size_t size) {
  BufferPool::Block* const block = pool.take();
  std::memset(pool.room(block).data(), value, size);
  return pool.lend(block, size);
}

}  // namespace

TEST_CASE("a receiver that holds at most four messages uses four blocks", "[mq]") {
  const auto pool = BufferPool::make(100);
  std::set<const std::byte*> seen;
  std::vector<Message> held;
  for (int n = 0; n < 1000; ++n) {
    if (held.size() == 4) held.erase(held.begin() + n % 4);
    held.push_back(filled(*pool, n & 0xff, 100));
    seen.insert(held.back().data());
    REQUIRE(held.back().size() == 100);
    REQUIRE(held.back().bytes()[99] == static_cast<std::byte>(n & 0xff));
  }
  CHECK(seen.size() == 4);
}

TEST_CASE("messages stay whole when their pool's owner is gone", "[mq]") {
  std::vector<Message> held;
  {
    const auto pool = BufferPool::make(8);
    for (int n = 0; n < 3; ++n) held.push_back(filled(*pool, n, 8));
  }
  held.erase(held.begin() + 1);
  CHECK(held[0].bytes()[7] == std::byte{0});
  CHECK(held[1].bytes()[7] == std::byte{2});
}

TEST_CASE("an unused block is used next", "[mq]") {
  const auto pool = BufferPool::make(8);
  BufferPool::Block* const block = pool->take();
  pool->put_back(block);
  CHECK(pool->take() == block);
  pool->put_back(block);
}

TEST_CASE("messages may be released by several threads while more are received", "[mq]") {
  auto pool = BufferPool::make(64);
  constexpr int kThreads = 3;
  constexpr int kMessages = 3000;
  std::array<std::vector<Message>, kThreads> shares;
  std::array<std::atomic<int>, kThreads> ready{};
  for (auto& share : shares) share.resize(kMessages);
  std::atomic<int> damaged{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto at = static_cast<std::size_t>(t);
      for (int n = 0; n < kMessages; ++n) {
        while (ready[at].load(std::memory_order_acquire) <= n) std::this_thread::yield();
        Message message = std::move(shares[at][static_cast<std::size_t>(n)]);
        for (const std::byte b : message.bytes()) damaged += b != static_cast<std::byte>(n & 0xff);
      }
    });
  }
  for (int n = 0; n < kMessages; ++n) {
    for (std::size_t t = 0; t < kThreads; ++t) {
      shares[t][static_cast<std::size_t>(n)] = filled(*pool, n & 0xff, 64);
      ready[t].store(n + 1, std::memory_order_release);
    }
  }
  pool.reset();
  threads.clear();
  CHECK(damaged == 0);
}
