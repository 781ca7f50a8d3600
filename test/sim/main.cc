// Runs the machine's own tests: anneal_sim_test <folder with PTX> [name...]. One line a test: "ok <name>" or "FAIL <name>: why".
// anneal_sim_test --decode <file.ptx>...: reads every kernel of the files, and says what it does not know.
#include "harness.h"

static int decodeAll(int count, char** files) {
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    harness::Device d;
    try {
      auto from = std::chrono::steady_clock::now();
      d.load(harness::readFile(files[i]));
      std::chrono::duration<double, std::milli> loaded = std::chrono::steady_clock::now() - from;
      size_t kernels = 0;
      for (auto& name : d.module->kernelNames()) {
        try {
          d.module->kernel(name)->decode();
          ++kernels;
        } catch (const std::exception& e) {
          ++failed;
          std::printf("FAIL %s: %s\n", files[i], e.what());
        }
      }
      std::chrono::duration<double, std::milli> all = std::chrono::steady_clock::now() - from;
      std::printf("ok %s: %zu kernels, loaded in %.1f ms, decoded in %.1f ms\n", files[i], kernels, loaded.count(), all.count());
    } catch (const std::exception& e) {
      ++failed;
      std::printf("FAIL %s: %s\n", files[i], e.what());
    }
  }
  return failed != 0;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    for (auto& t : harness::tests()) std::printf("%s\n", t.name);
    return 0;
  }
  if (std::string(argv[1]) == "--decode") {
    harness::folder = ".";
    return decodeAll(argc - 2, argv + 2);
  }
  harness::folder = argv[1];
  int failed = 0;
  for (auto& t : harness::tests()) {
    bool wanted = argc == 2;
    for (int i = 2; i < argc; ++i) wanted |= std::string(argv[i]) == t.name;
    if (!wanted) continue;
    try {
      t.run();
      std::printf("ok %s\n", t.name);
    } catch (const std::exception& e) {
      ++failed;
      std::printf("FAIL %s: %s\n", t.name, e.what());
    }
    std::fflush(stdout);
  }
  return failed != 0;
}
