// Messages of the services as JSON for programs.
#pragma once

#include <google/protobuf/message.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"

namespace larder {

using Json = nlohmann::ordered_json;

// Every field of `message` under its own name, in the order of the .proto file: numbers as numbers,
// also those of 64 bits; fixed32 and fixed64, which are no quantities, as 8 and 16 hexadecimal
// digits; bytes as hexadecimal digits; enums in lower case without their type's name
// ("key_value"). A field that can be absent and is, is null.
Json ToJson(const google::protobuf::Message& message);

// Pretty-printed, with a line's end. Broken UTF-8 is replaced.
std::string ToText(const Json& json);

// Writes {"NAME": [...], ...} while its items come in, so that a long list takes no memory. Not
// thread-safe. `file` outlives it. REQUIRES: one Finish, at the end.
class JsonListWriter {
 public:
  JsonListWriter(FILE* file, absl::string_view name);

  void Add(const Json& item);
  // `rest` holds the fields after the list.
  void Finish(const Json& rest);

 private:
  FILE* const file_;
  bool empty_ = true;
};

}  // namespace larder
