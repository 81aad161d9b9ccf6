// bus/broker/status.cpp: what the broker says of itself, as JSON.
#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "bus/broker/state.hpp"
#include "bus/core/message.hpp"

namespace bus::broker {

namespace {

/// An object, member by member. Of nlohmann only strings: its arrays and objects need memory to be destroyed, and a
/// broker that has none left would end.
class Object {
 public:
  Object& text(std::string_view key, std::string_view value) {
    // Text of peers is bytes: what is no UTF-8 is replaced.
    const nlohmann::json string = std::string(value);
    return raw(key, string.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  Object& number(std::string_view key, std::uint64_t value) { return raw(key, std::to_string(value)); }
  Object& number(std::string_view key, double value) {
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    return raw(key, {digits.data(), end});
  }
  Object& raw(std::string_view key, std::string_view json) {  // a key of ours: nothing in it to escape
    text_ += text_.size() > 1 ? ",\"" : "\"";
    text_.append(key).append("\":").append(json);
    return *this;
  }
  [[nodiscard]] std::string done() && { return std::move(text_ += '}'); }

 private:
  std::string text_ = "{";
};

std::string counts(const ReasonCounts& reasons) {
  Object object;
  for (std::size_t i = 0; i < kReasons; ++i) {
    if (reasons[i] > 0) object.number(name(static_cast<Reason>(i)), reasons[i]);
  }
  return std::move(object).done();
}

std::string describe(const Client& client, const Subscription& subscription) {
  Object object;
  object.number("client", std::uint64_t{client.id}).text("name", client.name).text("pattern", subscription.pattern);
  if (!subscription.queue.empty()) object.text("queue", subscription.queue);
  object.number("depth", std::uint64_t{subscription.depth}).text("full", protocol::name(subscription.full));
  object.number("sent", subscription.sent).number("taken", subscription.taken);
  object.number("waiting", subscription.waiting.messages());
  object.number("unacknowledged", std::uint64_t{subscription.unacknowledged.size()});
  object.raw("dropped", counts(subscription.dropped)).number("dropped_by_node", subscription.dropped_there);
  return std::move(object).done();
}

std::string describe(const Client& client) {
  Object object;
  object.number("client", std::uint64_t{client.id}).text("name", client.name).text("peer", client.connection.peer);
  object.number("accepted", client.accepted).number("unreached", client.unreached);
  object.number("held_back", std::uint64_t{client.held_back.size()}).number("delivered", client.delivered);
  object.number("subscriptions", std::uint64_t{client.subscriptions.size()}).number("waiting_bytes", client.bytes);
  return std::move(object).done();
}

/// Items, as many as one answer has room for; those behind them are counted.
class List {
 public:
  explicit List(std::size_t most) : most_(most) {}
  void add(const std::string& item) {
    if (left_out_ > 0 || text_.size() + item.size() + 2 > most_) {
      ++left_out_;
      return;
    }
    if (text_.size() > 1) text_ += ',';
    text_ += item;
  }
  void done(Object& object, std::string_view key) && {
    object.raw(key, text_ += ']');
    if (left_out_ > 0) object.number("left_out", left_out_);
  }

 private:
  std::string text_ = "[";
  const std::size_t most_;
  std::uint64_t left_out_ = 0;
};

constexpr std::size_t kBesideList = 4096;  // bytes of an answer: the broker's name and its figures

}  // namespace

std::string Core::describe(std::string_view what, std::size_t most, Time now) const {
  const State& state = *state_;
  List list(most - std::min(most, kBesideList));
  Object object;
  if (what == "subscriptions") {
    for (const auto& [id, client] : state.clients) {
      for (const auto& [number, subscription] : client->subscriptions) {
        list.add(broker::describe(*client, *subscription));
      }
    }
    std::move(list).done(object, "subscriptions");
    return std::move(object).done();
  }
  for (const auto& [id, client] : state.clients) list.add(broker::describe(*client));
  const Totals sums = totals();
  object.text("name", state.name);
  object.number("up_seconds", std::chrono::duration<double>(now - state.started).count());
  object.number("accepted", sums.accepted).number("unreached", sums.unreached);
  object.number("lost_coming", sums.lost_coming).number("copies", sums.copies);
  object.number("delivered", sums.delivered).number("again", sums.again).number("waiting", sums.waiting);
  object.raw("dropped", counts(sums.dropped)).number("memory", sums.memory);
  object.number("subscriptions", std::uint64_t{sums.subscriptions});
  std::move(list).done(object, "clients");
  return std::move(object).done();
}

void Core::State::on(Client& client, const protocol::Query& query) {
  if (query.what != "status" && query.what != "subscriptions") {
    control(client, protocol::Refused{query.token, Errc::not_supported,
                                      "asked for something else than status or subscriptions"});
    return;
  }
  const std::size_t most = client.connection.max_frame - std::min(client.connection.max_frame, protocol::kMostAround);
  const std::string text = core.describe(query.what, most, now);
  if (text.size() > most) {
    control(client, protocol::Refused{query.token, Errc::message_too_large,
                                      "the answer is larger than a message on this connection may be"});
    return;
  }
  control(client, protocol::Answer{query.token, bytes_of(text)});
}

}  // namespace bus::broker
