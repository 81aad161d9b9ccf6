// tools/verbs/throughput.cpp: bus throughput: a plain loop of send against a plain loop of receive.
#include <array>

#include "tools/measure/settings.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace measure;

namespace {

Exit measure_throughput(const Arguments& arguments, Signals& signals) {
  arguments.at_most_one({"batch", "loan"});
  RowOptions options = row_options(arguments);
  Conditions& c = options.conditions;
  c.measure = Measure::throughput;
  c.load_model = LoadModel::flood;
  c.batch = *arguments.number("batch");
  c.loan = arguments.flag("loan");
  c.producers = *arguments.number("producers");
  if (c.batch == 0 || c.batch > 65536) throw UsageError("throughput: --batch: from 1 to 65536");
  if (c.producers == 0 || c.producers > 1000) throw UsageError("throughput: --producers: from 1 to 1000");
  Plan plan = plan_of(arguments, "throughput");
  for (const std::uint64_t size : sizes_of(arguments)) {
    c.size = size;
    plan.rows.push_back(plan_own(arguments.address(), options));
    if (plan.rows.back().task.one_process && c.producers > 1) {
      throw UsageError("throughput: --producers are processes, and inproc is within one");
    }
  }
  Output output(signals);
  return publish(run(plan, signals), arguments, output);
}

Exit run_throughput(const Arguments& arguments, Signals& signals) {
  return unless_stopped(signals, [&] { return measure_throughput(arguments, signals); });
}

}  // namespace

const Verb& throughput_verb() noexcept {
  static constexpr auto kOptions = with_shared(
      std::array{kSizes, Option{'b', "batch", Kind::count, "N", "messages that are handed over in one call", "1"},
                 Option{0, "loan", Kind::flag, "", "messages are written where they are sent from"},
                 Option{'p', "producers", Kind::count, "N", "processes that send to the one that receives", "1"}});
  static constexpr std::array<Example, 3> kExamples{{
      {"bus throughput shm://", "messages a second of 64 bytes, each one checked"},
      {"bus throughput unix:// --sizes 64,1KiB,64KiB,1MiB", "a sweep of sizes"},
      {"bus throughput shm:// --producers 4 --loan", "four processes, messages written in place"},
  }};
  static constexpr Verb kVerb{
      "throughput",
      "measures how much an address carries: every message checked",
      "ADDRESS",
      1,
      1,
      "Starts its own processes on ADDRESS (shm://, unix://, tcp://, ...). Each sender calls send() in a plain loop, "
      "the\n"
      "receiver calls receive() in another, reads every byte and counts what is lost. The rate is what arrived while\n"
      "all senders were sending. Exit code 5 if a row is invalid: messages lost, damaged or out of order.\n",
      kOptions,
      kExamples,
      run_throughput,
  };
  return kVerb;
}

}  // namespace bus::tools
