// examples/work_queue.cpp: jobs are shared among workers, and the jobs of a worker that is killed go to the others.
//
//   work_queue work NAME [BUS]        takes jobs until there is a job "stop"
//   work_queue order COUNT [BUS]      orders so many jobs, and ends when each of them is done
#include <iostream>
#include <string>

#include "bus/client/node.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  if (argc < 3) {
    std::cerr << "usage: work_queue work NAME | order COUNT [BUS]\n";
    return 2;
  }
  const std::string role = argv[1];
  bus::Node node = bus::Node::join(argc > 3 ? argv[3] : "shm://work");

  if (role == "work") {
    bus::Subscription jobs = node.subscribe("jobs", {.queue = "workers", .depth = 8});
    bus::Subscription stop = node.subscribe("stop");
    std::cout << "ready" << std::endl;
    while (!stop.try_receive()) {
      bus::Result<bus::Delivery> job = jobs.receive(bus::in(20ms));
      if (!job) continue;
      std::cout << argv[2] << " did " << job->text() << std::endl;
    }  // here the job is destroyed, which acknowledges it: it was done
    return 0;
  }

  const int count = std::stoi(argv[2]);
  for (int i = 0; i < count; ++i) {
    const std::error_code error = node.publish("jobs", bus::bytes_of(std::to_string(i)),
                                               {.level = bus::Level::delivered, .wait_subscribers = 1}, bus::in(20s));
    if (error) {
      std::cerr << "job " << i << ": " << error.message() << "\n";
      return 1;
    }
  }
  if (const std::error_code error = node.settled(bus::in(60s))) {
    std::cerr << "not all jobs were done: " << error.message() << "\n";
    return 1;
  }
  std::cout << count << " jobs done\n";
  return node.publish("stop", {}) ? 1 : 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
