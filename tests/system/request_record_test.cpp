// tests/system/request_record_test.cpp: what bus request and bus reply record, and what the auditor makes of it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

std::string record_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t events_in(const std::string& record, const std::string& event) {
  const std::string mark = "{\"event\":\"" + event + "\",";
  std::size_t count = 0;
  for (std::size_t at = record.find(mark); at != std::string::npos; at = record.find(mark, at + 1)) ++count;
  return count;
}

/// Starts a verb, and waits until it has said so.
Polite start_until(std::string_view said, std::vector<std::string> words) {
  Polite process(start_bus(std::move(words)));
  process.wait_for_error(said);
  return process;
}

Polite replier(const std::string& bus, const std::string& record, std::vector<std::string> more) {
  more.insert(more.begin(), "reply");
  for (const std::string& word : {std::string("--bus"), bus, std::string("--record"), record}) more.push_back(word);
  return start_until("answering ", std::move(more));
}

Polite separate_broker(const std::string& bus) { return start_until("listening on ", {"broker", "--listen", bus}); }

void end_by_signal(Process& process) {
  process.kill(SIGTERM);
  INFO(process.err());
  REQUIRE(process.wait() == exited(143));
}

struct Audited {
  Finished finished;
  Json sum;
  std::vector<Json> subscriptions;

  /// Of the one subscription whose pattern begins so.
  [[nodiscard]] Json of(std::string_view pattern) const {
    const auto found = std::find_if(subscriptions.begin(), subscriptions.end(), [&](const Json& one) {
      return one.at("pattern").get<std::string>().starts_with(pattern);
    });
    REQUIRE(found != subscriptions.end());
    return *found;
  }
};

Audited audit_of(std::vector<std::string> records) {
  records.insert(records.begin(), "audit");
  records.emplace_back("--json");
  Audited result{run_bus(records), {}, {}};
  for (const Json& object : objects(result.finished.out)) {
    if (object.at("type") == "subscription") result.subscriptions.push_back(object);
    if (object.at("type") == "summary") result.sum = object;
  }
  return result;
}

}  // namespace

TEST_CASE("the books of a question, its answer and all else on the bus close", "[system][record]") {
  const std::string bus = GENERATE("shm://", "unix://") + fresh_name();
  CAPTURE(bus);
  const std::string folder = temporary_folder();
  Polite sub = start_until("subscribed to ", {"sub", ">", "--bus", bus, "--record", folder + "/sub"});
  Polite reply = replier(bus, folder + "/reply", {"math.*", "--exec", "expr 2 \\* $(cat)"});
  const Finished asked = run_bus({"request", "math.double", "21", "--bus", bus, "--record", folder + "/request"});
  INFO(asked.err);
  REQUIRE(asked.out == "42\n\n");
  REQUIRE(run_bus({"pub", "a", "x", "y", "--bus", bus, "--record", folder + "/pub"}).status == exited(0));
  REQUIRE_NOTHROW(sub.wait_for_output([](const std::string& out) { return out.find("y\n") != std::string::npos; }));
  end_by_signal(reply);
  end_by_signal(sub);

  const Audited audit = audit_of({folder + "/request", folder + "/reply", folder + "/pub", folder + "/sub"});
  INFO(audit.finished.err << audit.finished.out);
  REQUIRE(audit.finished.status == exited(0));
  REQUIRE(audit.sum.at("published") == 4);
  REQUIRE(audit.sum.at("expected") == 6);  // one who answers, one who asked, and somebody who gets everything
  REQUIRE(audit.sum.at("delivered") == 6);
  REQUIRE(audit.sum.at("unrecorded") == 0);
  REQUIRE(audit.of("math.*").at("delivered") == 1);
  REQUIRE(audit.of("_INBOX.").at("delivered") == 1);
  REQUIRE(audit.of(">").at("delivered") == 4);
  for (const Json& one : audit.subscriptions) REQUIRE(one.at("whole") == true);
}

TEST_CASE("a thousand questions and answers are delivered, and one that is taken away is a hole", "[system][record]") {
  const std::string bus = "unix://" + fresh_name();
  const std::string folder = temporary_folder();
  Polite broker = separate_broker(bus);  // one who hosts it and leaves would make unknown what was under way
  Polite reply = replier(bus, folder + "/reply", {"load", "--echo", "--count", "1k"});
  Process request = start_bus({"request", "load", "x", "--bus", bus, "--count", "1k", "--interval", "0", "--json",
                               "--record", folder + "/request"});
  REQUIRE(request.wait(in(120s)) == exited(0));  // a round trip takes many milliseconds on a machine that is busy
  REQUIRE(reply.wait() == exited(0));
  const Json books = summary_of(request.out()).at("subscriptions").at(0);
  REQUIRE(books.at("received") == 1000);
  REQUIRE(books.at("dropped") == Json::object());

  const Audited good = audit_of({folder + "/request", folder + "/reply"});
  INFO(good.finished.err << good.finished.out);
  REQUIRE(good.finished.status == exited(0));
  REQUIRE(good.sum.at("published") == 2000);
  REQUIRE(good.sum.at("delivered") == 2000);
  REQUIRE(good.of("_INBOX.").at("expected") == 1000);
  REQUIRE(good.of("load").at("expected") == 1000);

  const std::string name = GENERATE("/request", "/reply");  // an answer, or a question
  CAPTURE(name);
  std::string record = record_of(folder + name);
  const auto at = record.find("{\"event\":\"received\"", record.size() / 2);
  REQUIRE(at != std::string::npos);
  record.erase(at, record.find('\n', at) + 1 - at);
  std::ofstream(folder + name, std::ios::binary) << record;
  const Audited hole = audit_of({folder + "/request", folder + "/reply"});
  INFO(hole.finished.err << hole.finished.out);
  REQUIRE(hole.finished.status == exited(5));
  REQUIRE(hole.sum.at("holes") == 1);
}

TEST_CASE("everybody's answer is delivered, or counted where one was enough", "[system][record]") {
  const std::string bus = "unix://" + fresh_name();
  const std::string folder = temporary_folder();
  Polite broker = separate_broker(bus);
  std::vector<std::string> records{folder + "/request"};
  std::vector<Polite> repliers;
  for (const char* const name : {"one", "two", "three"}) {
    records.push_back(folder + "/" + name);
    repliers.push_back(replier(bus, records.back(), {"who", name, "--queue", name}));
  }
  static constexpr std::uint64_t kAsked = 200;
  const bool many = GENERATE(true, false);
  CAPTURE(many);
  std::vector<std::string> words{"request", "who", "", "--bus", bus, "--record", records.front()};
  if (many) {
    words.insert(words.end(), {"--many", "--timeout", "1h"});
  } else {
    words.insert(words.end(), {"--count", std::to_string(kAsked), "--interval", "0"});
  }
  Polite request(start_bus(words));
  if (many) {
    request.wait_for_output([](const std::string& out) { return lines_in(out) == 3; });
    end_by_signal(request);
  } else {
    REQUIRE(request.wait() == exited(0));
  }
  for (Polite& one : repliers) end_by_signal(one);

  const Audited audit = audit_of(records);
  INFO(audit.finished.err << audit.finished.out);
  REQUIRE(audit.finished.status == exited(0));
  REQUIRE(audit.sum.at("unrecorded") == 0);
  const Json inbox = audit.of("_INBOX.");
  if (many) {
    REQUIRE(inbox.at("delivered") == 3);
    REQUIRE(inbox.at("dropped") == 0);
    return;
  }
  // What came when the program had left already was owed to nobody, or in flight.
  REQUIRE(inbox.at("delivered") == kAsked);
  REQUIRE(inbox.at("dropped") > 0);
  REQUIRE(inbox.at("reasons").at("expired") >= inbox.at("dropped"));
  REQUIRE(inbox.at("expected") == inbox.at("delivered").get<std::uint64_t>() +
                                      inbox.at("dropped").get<std::uint64_t>() +
                                      inbox.at("in_flight").get<std::uint64_t>());
}

TEST_CASE("an answer that comes too late is counted as expired, and is no hole", "[system][record]") {
  const std::string bus = "unix://" + fresh_name();
  const std::string folder = temporary_folder();
  const std::string may_answer = folder + "/may-answer";
  Polite broker = separate_broker(bus);
  Polite reply =
      replier(bus, folder + "/reply", {"late", "--exec", "while [ ! -e " + may_answer + " ]; do sleep 0.01; done"});
  Polite request(start_bus({"request", "late", "x", "--bus", bus, "--count", "1M", "--interval", "1ms", "--timeout",
                            "300ms", "--json", "--record", folder + "/request"}));
  request.wait_for_output("\"lost\"");
  // A question is there before its answer is waited for: who is killed has said it.
  REQUIRE(events_in(record_of(folder + "/request"), "published") >= 1);
  std::ofstream(may_answer) << "now";
  request.wait_for_output("\"ping\"");

  const bool killed = GENERATE(false, true);
  CAPTURE(killed);
  request.kill(killed ? SIGKILL : SIGTERM);
  REQUIRE(request.wait() == (killed ? ExitStatus{-1, SIGKILL} : exited(143)));
  end_by_signal(reply);
  const Audited audit = audit_of({folder + "/request", folder + "/reply"});
  INFO(audit.finished.err << audit.finished.out);
  REQUIRE(audit.finished.status == exited(0));
  REQUIRE(audit.of("_INBOX.").at("reasons").at("expired") >= 1);
  REQUIRE(audit.of("_INBOX.").at("delivered") >= 1);
  REQUIRE(audit.of("_INBOX.").at("whole") == !killed);
  if (killed) return;
  const Json books = summary_of(request.out()).at("subscriptions").at(0);
  REQUIRE(books.at("dropped").at("expired") == audit.of("_INBOX.").at("reasons").at("expired"));
}

TEST_CASE("after the death of who answers, what he may have had is unknown, and nothing else", "[system][record]") {
  const std::string bus = "unix://" + fresh_name();
  const std::string folder = temporary_folder();
  const std::string which = GENERATE("the only one", "one of two", "one of two, who hosts the broker");
  CAPTURE(which);
  const bool alone = which == "the only one", hosts = which.ends_with("broker");
  std::optional<Polite> broker;
  if (!hosts) broker.emplace(separate_broker(bus));
  std::vector<Polite> repliers;
  std::vector<std::string> records{folder + "/request"};
  for (std::size_t i = 0; i < (alone ? 1 : 2); ++i) {
    records.push_back(folder + "/reply" + std::to_string(i));
    repliers.push_back(replier(bus, records.back(), {"load", "--echo"}));
  }
  Polite request(start_bus({"request", "load", "x", "--bus", bus, "--count", "100M", "--interval", "0", "--timeout",
                            "2s", "--record", records.front()}));
  REQUIRE(eventually([&] { return events_in(record_of(records[1]), "published") >= 50; }));
  repliers.front().kill(SIGKILL);
  REQUIRE(repliers.front().wait() == ExitStatus{-1, SIGKILL});
  if (!alone) {  // the other one has all of them
    const std::size_t had = events_in(record_of(records[2]), "received");
    const auto goes_on = [&] { return events_in(record_of(records[2]), "received") >= had + 50; };
    // With the broker the question under way may be lost: nobody knows, and the program says so.
    REQUIRE(eventually([&] { return goes_on() || (hosts && request.ended()); }));
    request.kill(SIGTERM);
  }
  INFO(request.err());
  const ExitStatus status = request.wait();
  if (alone) REQUIRE(status == exited(4));  // the next question reaches nobody
  if (!alone && !hosts) REQUIRE(status == exited(143));
  if (hosts) REQUIRE((status == exited(143) || status == exited(4)));
  if (!alone) end_by_signal(repliers.back());

  const Audited audit = audit_of(records);
  INFO(audit.finished.err << audit.finished.out);
  REQUIRE(audit.finished.status == exited(0));
  REQUIRE(audit.of("load").at("whole") == false);
  REQUIRE(audit.of("load").at("delivered") >= 50);
  REQUIRE(audit.of("_INBOX.").at("whole") == true);
  REQUIRE(audit.of("_INBOX.").at("delivered") >= 50);
  // A requester has one question under way.
  REQUIRE(audit.sum.at("unknown").get<int>() + audit.sum.at("unrecorded").get<int>() <= 4);
}

TEST_CASE("in the folder of BUS_RECORD each node has a record of its own, but for one that has another",
          "[system][record]") {
  const std::string bus = "unix://" + fresh_name();
  const std::string folder = temporary_folder(), records = folder + "/records", own = folder + "/own";
  ProcessOptions options;
  options.env["BUS_RECORD"] = records;
  Polite sub(start_bus({"sub", "a", "--bus", bus, "--count", "3"}, options));
  sub.wait_for_error("subscribed to ");
  for (int i = 0; i < 2; ++i) {
    const Finished pub = run(bus_words({"pub", "a", "x", "--bus", bus}), {}, in(60s), options);
    INFO(pub.err);
    REQUIRE(pub.status == exited(0));
  }
  REQUIRE(run(bus_words({"pub", "a", "x", "--bus", bus, "--record", own}), {}, in(60s), options).status == exited(0));
  REQUIRE(sub.wait() == exited(0));

  std::vector<std::string> files{own};
  for (const auto& file : std::filesystem::directory_iterator(records)) files.push_back(file.path());
  std::vector<std::string> names;
  for (const std::string& file : files) names.push_back(file.substr(file.rfind('/') + 1));
  CAPTURE(names);
  const auto named = [&](std::string_view verb) {
    return std::count_if(names.begin(), names.end(), [&](const std::string& name) {
      return name.starts_with(verb) && name.ends_with(".jsonl") && name.size() == verb.size() + 22;
    });
  };
  REQUIRE(names.size() == 4);
  REQUIRE(named("pub-") == 2);
  REQUIRE(named("sub-") == 1);
  const Audited audit = audit_of(files);
  INFO(audit.finished.err << audit.finished.out);
  REQUIRE(audit.finished.status == exited(0));
  REQUIRE(audit.sum.at("delivered") == 3);
  REQUIRE(audit.sum.at("unrecorded") == 0);

  options.env["BUS_RECORD"] = own + "/there";
  const Finished refused = run(bus_words({"pub", "a", "x", "--bus", bus}), {}, in(60s), options);
  REQUIRE(refused.status == exited(1));
  REQUIRE_THAT(refused.err, Contains("cannot make the folder " + own + "/there of BUS_RECORD: Not a directory"));
}

TEST_CASE("a record that cannot be written ends request and reply with the reason", "[system][record]") {
  const std::string bus = "unix://" + fresh_name();
  const auto words = GENERATE(values<std::vector<std::string>>({{"request", "a", "x"}, {"reply", "a", "x"}}));
  std::vector<std::string> all = words;
  for (const std::string& word : {std::string("--bus"), bus, std::string("--record"), std::string("/nowhere/at/all")}) {
    all.push_back(word);
  }
  const Finished finished = run_bus(all);
  INFO(finished.err);
  REQUIRE(finished.status == exited(1));
  REQUIRE_THAT(finished.err, Contains("cannot write /nowhere/at/all: No such file"));
}

}  // namespace bus::test
