// Faces recognised side by side: one recognizer per thread. faces_in_threads edge.fer THREADS
#include <fer_edge.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Close {
    void operator()(fer_recognizer *recognizer) const { fer_close(recognizer); }
};
using Recognizer = std::unique_ptr<fer_recognizer, Close>;

Recognizer open_recognizer(const char *path) {
    fer_message message;
    fer_recognizer *recognizer = nullptr;
    fer_options options{};
    options.threads = 1;
    if (fer_open(path, &options, &recognizer, &message) != FER_OK) throw std::runtime_error(message.text);
    return Recognizer(recognizer);
}

std::string recognize(fer_recognizer *recognizer, const fer_frame &frame, const std::vector<fer_face> &faces) {
    fer_message message;
    std::vector<fer_expression> expressions(faces.size());
    if (fer_recognize(recognizer, &frame, faces.data(), faces.size(), expressions.data(), nullptr, &message) != FER_OK)
        throw std::runtime_error(message.text);
    std::string text;
    for (const auto &expression : expressions)
        text += std::string(text.empty() ? "" : ", ") + fer_label(recognizer, expression.label);
    return text;
}

}  // namespace

int main(int count, char **arguments) {
    if (count != 3) {
        std::fprintf(stderr, "usage: %s BUNDLE THREADS\n", arguments[0]);
        return 2;
    }
    // A grey frame, in place of the frame of a camera, and the box of a face.
    const std::vector<unsigned char> pixels(640 * 480 * 3, 128);
    fer_frame frame{};
    frame.pixels = pixels.data();
    frame.width = 640;
    frame.height = 480;
    frame.format = FER_BGR;
    fer_face face{};
    face.kind = FER_BOX;
    face.x = 200, face.y = 100, face.width = 160, face.height = 160;
    std::vector<std::string> results(static_cast<std::size_t>(std::atoi(arguments[2])));
    std::vector<std::thread> workers;
    for (auto &result : results)
        workers.emplace_back([&] {
            try {
                const Recognizer recognizer = open_recognizer(arguments[1]);
                result = recognize(recognizer.get(), frame, {face, face});
            } catch (const std::exception &error) {
                result = error.what();
            }
        });
    for (auto &worker : workers) worker.join();
    for (const auto &result : results) std::printf("%s\n", result.c_str());
}
