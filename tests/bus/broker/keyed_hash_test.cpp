// tests/bus/broker/keyed_hash_test.cpp: the hash is the one that it says it is.
#include "bus/broker/keyed_hash.hpp"

#include "tests/support/catch.hpp"

using namespace bus::broker;

TEST_CASE("the hash of texts is SipHash-1-3", "[broker]") {
  // Source: PYTHONHASHSEED=0 python3.11 -c 'print(hex(hash(b"abcdefg") & (2**64 - 1)))': SipHash-1-3 under a key of
  // zeros.
  const KeyedHash hash({0, 0});
  REQUIRE(hash("a") == 0x407448d2b89b1813);
  REQUIRE(hash("abcdefg") == 0x6db12aae9070f506);
  REQUIRE(hash("abcdefgh") == 0x3f7b849c0b8e35ea);
  REQUIRE(hash("sensors.kitchen.temp") == 0x1861e73b3d1262ab);
  REQUIRE(KeyedHash({0, 1})("a") != hash("a"));
  REQUIRE(KeyedHash({1, 0})("a") != hash("a"));
}
