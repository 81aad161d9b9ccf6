// tests/fuzz/bus_frame_fuzz.cpp: bytes that are a frame are the bytes of that frame, and its parts lie within them.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "bus/protocol/frame.hpp"
#include "bus/protocol/headers.hpp"
#include "bus/protocol/subject.hpp"

namespace {

using namespace bus::protocol;

void require(bool ok) {
  if (!ok) std::abort();
}

void check_message(std::string_view subject, std::string_view reply, Bytes headers) {
  require(valid_subject(subject));
  require(reply.empty() || valid_subject(reply));
  require(Headers(headers).valid());
  std::size_t read = 0;
  for (const Header& header : Headers(headers)) {
    require(!header.key.empty() && Headers(headers).find(header.key));
    read += 4 + header.key.size() + header.value.size();
  }
  require(read == headers.size());
}

template <class Batch>
void check_batch(const Batch& batch) {
  require(valid_subject(batch.subject));
  std::uint32_t count = 0;
  for (Bytes items = batch.items; !items.empty(); ++count) static_cast<void>(take_item(items));
  require(count == batch.count && count <= kMostInBatch);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto frame = decode(bytes);
  if (!frame) {
    require(frame.error() == bus::Errc::corrupt || frame.error() == bus::Errc::version_mismatch);
    return 0;
  }
  std::vector<std::byte> again;
  encode(*frame, again);
  require(std::ranges::equal(again, bytes));
  if (const auto* publish = std::get_if<Publish>(&*frame)) {
    check_message(publish->subject, publish->reply, publish->headers);
    require(tail_of_publish(bytes).size() ==
            tail_size(publish->subject, publish->reply, publish->headers, publish->payload));
  }
  if (const auto* deliver = std::get_if<Deliver>(&*frame)) {
    check_message(deliver->subject, deliver->reply, deliver->headers);
  }
  if (const auto* batch = std::get_if<PublishBatch>(&*frame)) check_batch(*batch);
  if (const auto* batch = std::get_if<DeliverBatch>(&*frame)) check_batch(*batch);
  if (const auto* subscribe = std::get_if<Subscribe>(&*frame)) require(valid_pattern(subscribe->pattern));
  return 0;
}
