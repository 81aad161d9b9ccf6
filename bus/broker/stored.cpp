// bus/broker/stored.cpp: copies of messages.
#include "bus/broker/stored.hpp"

#include "bus/core/message.hpp"

namespace bus::broker {

Stored::Stored(const Parcel& from, std::uint64_t& held)
    : bytes_(from.tail.begin(), from.tail.end()), parcel_(from), held_(held) {
  held_ += cost();
  const auto moved = [&](const auto* data) {
    return bytes_.data() + (reinterpret_cast<const std::byte*>(data) - from.tail.data());
  };
  const auto text = [&](std::string_view view) {
    return view.empty() ? std::string_view()
                        : std::string_view(reinterpret_cast<const char*>(moved(view.data())), view.size());
  };
  const auto bytes = [&](Bytes view) { return view.empty() ? Bytes() : Bytes(moved(view.data()), view.size()); };
  parcel_.subject = text(from.subject);
  parcel_.reply = text(from.reply);
  parcel_.headers = bytes(from.headers);
  parcel_.payload = bytes(from.payload);
  parcel_.tail = bytes_;
}

Stored::Stored(const Batch& from, std::uint64_t& held) : count_(from.count), held_(held) {
  bytes_.reserve(from.subject.size() + from.items.size());
  const Bytes subject = bytes_of(from.subject);
  bytes_.assign(subject.begin(), subject.end());
  bytes_.insert(bytes_.end(), from.items.begin(), from.items.end());
  parcel_.id = from.first;
  parcel_.subject = {reinterpret_cast<const char*>(bytes_.data()), subject.size()};
  parcel_.payload = Bytes(bytes_).subspan(subject.size());
  held_ += cost();
}

}  // namespace bus::broker
