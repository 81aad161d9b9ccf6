// tests/system/command_test.cpp: the commands that verbs run for messages.
#include "tests/system/bus_line.hpp"

namespace bus::test {

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

}  // namespace bus::test
