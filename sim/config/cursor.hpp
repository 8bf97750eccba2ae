#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

/// A place in a document and the list of faults found so far: decoding goes on after a fault, so that the user sees
/// all of them at once. Document and list outlive the cursor.
class Cursor {
 public:
  Cursor(const Document& document, std::vector<Diagnostic>& faults)
      : document_(&document), value_(&document.root()), faults_(&faults) {}

  [[nodiscard]] const Json& value() const { return *value_; }
  [[nodiscard]] const Document& document() const { return *document_; }
  [[nodiscard]] Place place() const { return {document_->name(), pointer_}; }
  [[nodiscard]] Cursor member(const std::string& key) const;
  [[nodiscard]] Cursor element(std::size_t index) const;

  /// Notes a fault here. Returns false, so that a decoder can `return cursor.fail(…)`.
  bool fail(std::string message) const;
  /// fail("expected WHAT, found <this value>").
  bool expected(std::string_view what) const;
  /// What stands here, for messages: `"text"`, `the number 3.5`, `an object`, …
  [[nodiscard]] std::string found() const;

 private:
  const Document* document_;
  const Json* value_;
  std::vector<Diagnostic>* faults_;
  std::string pointer_;
};

}  // namespace moesim
