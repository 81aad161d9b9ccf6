// A picture of 8 MiB without a copy: the sender draws into memory that the receiver reads in place.
//
//     image_zero_copy receive [ADDRESS]     prints the size and a checksum of each picture
//     image_zero_copy send [ADDRESS]        draws three
//
// The receiver says with max_message how large a message it takes; the shared ring grows to fit by itself.
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kWidth = 2048, kHeight = 1024, kBytesPerPixel = 4;

/// Over words of 8 bytes: a picture has a whole number of them.
std::uint64_t checksum(std::span<const std::byte> pixels) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at + sizeof sum <= pixels.size(); at += sizeof sum) {
    std::uint64_t word = 0;
    std::memcpy(&word, pixels.data() + at, sizeof word);
    sum = sum * 31 + word;
  }
  return sum;
}

void draw(std::span<std::byte> pixels, std::uint32_t frame) {
  for (std::size_t at = 0; at + kBytesPerPixel <= pixels.size(); at += kBytesPerPixel) {
    const std::uint32_t colour = (static_cast<std::uint32_t>(at / kBytesPerPixel) + frame * 7) * 0x01030507;
    std::memcpy(pixels.data() + at, &colour, kBytesPerPixel);
  }
}

int send(const std::string& address) {
  bus::Channel channel = bus::connect(address, bus::in(30s));
  for (std::uint32_t frame = 0; frame < 3; ++frame) {
    bus::Loan picture = channel.loan(kWidth * kHeight * kBytesPerPixel, bus::in(5s)).value();
    draw(picture.bytes(), frame);
    std::cout << "frame " << frame << ": " << checksum(picture.bytes()) << '\n';
    if (const std::error_code error = picture.publish()) throw std::system_error(error, "publish");
  }
  if (const std::error_code error = channel.close(bus::in(5s))) throw std::system_error(error, "close");
  return 0;
}

int receive(const std::string& address) {
  bus::Listener listener = bus::listen(address + "?max_message=16MiB");
  bus::Channel channel = listener.accept(bus::in(30s)).value();
  for (unsigned frame = 0;; ++frame) {
    const bus::Result<bus::Message> picture = channel.receive(bus::in(30s));
    if (!picture) return picture.error() == bus::Errc::closed ? 0 : 1;
    std::cout << "frame " << frame << ": " << checksum(picture->bytes()) << '\n';
  }  // the picture's room goes back here
}

}  // namespace

int main(int argc, char* argv[]) try {
  const std::string_view role = argc > 1 ? argv[1] : "";
  const std::string address = argc > 2 ? argv[2] : "shm://pictures";
  if (role == "send") return send(address);
  if (role == "receive") return receive(address);
  std::cerr << "usage: image_zero_copy send|receive [ADDRESS]\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "image_zero_copy: " << error.what() << '\n';
  return 1;
}
