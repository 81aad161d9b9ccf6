// tests/system/command_test.cpp: the commands that verbs run for messages.
#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

/// A command that says which process it is, in a file, and then takes long.
struct LongCommand {
  std::string file = temporary_folder() + "/pid";
  std::string text = "echo $$ > " + file + "; exec sleep 3600";

  [[nodiscard]] std::string wait_started() const {
    pid_t pid = 0;
    REQUIRE(eventually([&] { return (std::ifstream(file) >> pid) && pid > 0; }));
    return "/proc/" + std::to_string(pid);
  }
};

/// Hangs it up, and sees its command end, and itself in good order.
void hang_up(Process& process, const LongCommand& command) {
  const std::string task = command.wait_started();
  process.kill(SIGHUP);
  INFO(process.err());
  REQUIRE(process.wait() == exited(129));
  REQUIRE_THAT(process.err(), Contains("books"));
  REQUIRE(eventually([&] { return kernel_state(task) == '?'; }));
}

}  // namespace

TEST_CASE("the command of reply has subject and headers of the question in its environment", "[system]") {
  const std::string bus = fixed_bus("unix");
  const Polite broker = broker_on(bus);
  Polite reply(start_bus(node_words("reply", "math.*", bus,
                                    {"--exec",
                                     "test -n \"$BUS_REPLY\" && "
                                     "printf '%s %s %s ' $BUS_SUBJECT $BUS_HEADER_lang $BUS_HEADER_x_y; cat"})));
  reply.wait_for_error("answering ");
  const Finished request =
      run_bus(node_words("request", "math.add", bus, {"hi", "-H", "lang: en", "-H", "x-y:1", "--format", "raw"}));
  INFO(request.err);
  REQUIRE(request.status == exited(0));
  REQUIRE(request.out == "math.add en 1 hi");
}

TEST_CASE("a hangup ends sub and reply in good order and their commands", "[system]") {
  const std::string bus = fixed_bus("unix");
  const Polite broker = broker_on(bus);
  const LongCommand of_sub, of_reply;
  Polite sub = sub_on(bus, "a", {"--exec", of_sub.text});
  Polite reply(start_bus(node_words("reply", "a", bus, {"--exec", of_reply.text})));
  reply.wait_for_error("answering ");
  REQUIRE(run_bus(node_words("pub", "a", bus, {"x"})).status == exited(0));
  hang_up(sub, of_sub);
  hang_up(reply, of_reply);
}

TEST_CASE("a hangup ends recv in good order and its command", "[system]") {
  const LongCommand command;
  Process recv = start_bus({"recv", fresh_address("unix"), "--exec", command.text});
  Process send = start_bus({"send", listening(recv), "x", "--linger", "1h"});
  hang_up(recv, command);
  send.wait();
}

TEST_CASE("a hangup that is ignored is no end", "[system]") {
  const std::string bus = fixed_bus("unix");
  const Polite broker = broker_on(bus);
  std::vector<std::string> words = bus_words(node_words("sub", "a", bus, {}));
  words.insert(words.begin(), {"/bin/sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""});
  Polite sub(Process::start(std::move(words)));
  wait_subscribed(sub);
  sub.kill(SIGHUP);
  REQUIRE(run_bus(node_words("pub", "a", bus, {"x", "--level", "delivered"})).status == exited(0));
  end_subscriber(sub);
  REQUIRE(sub.out() == "x\n");
}

}  // namespace bus::test
