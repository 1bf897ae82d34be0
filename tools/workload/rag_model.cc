#include <algorithm>
#include <array>
#include <vector>

#include "tools/workload/distributions.h"
#include "tools/workload/token_chain.h"
#include "tools/workload/workload_model.h"

namespace larder {
namespace {

// No trace of retrieval is at hand: every figure here is a choice.
constexpr size_t kDocuments = 2000;
constexpr double kDocumentExponent = 1.0;
constexpr LogNormal kDocumentTokens = {1200, 0.5};
constexpr uint32_t kDocumentTokensMax = 16'384;
constexpr size_t kDocumentsInPrompt = 4;
constexpr uint32_t kInstructionTokens = 1024;
constexpr LogNormal kQuestionTokens = {60, 0.8};
constexpr uint32_t kQuestionTokensMax = 2048;
constexpr LogNormal kAnswerTokens = {250, 0.7};
constexpr uint32_t kAnswerTokensMax = 2048;
// Users ask in bursts.
constexpr double kGapSigma = 1.0;

class RagModel final : public WorkloadModel {
 public:
  RagModel(uint32_t tokens_per_block, Random& random)
      : tokens_per_block_(tokens_per_block),
        instruction_(NewText(random)),
        popularity_(kDocuments, kDocumentExponent) {
    documents_.reserve(kDocuments);
    for (size_t i = 0; i < kDocuments; ++i) {
      const TextId text = NewText(random);
      documents_.push_back({text, kDocumentTokens.DrawTokens(random, kDocumentTokensMax)});
    }
  }

  double gap_sigma() const override { return kGapSigma; }
  std::unique_ptr<WorkloadUser> NewUser() const override;

  // The instruction and a few different documents, in the order in which they were drawn.
  TokenChain Retrieve(Random& random) const {
    TokenChain chain(tokens_per_block_);
    chain.Append(instruction_, kInstructionTokens);
    std::array<size_t, kDocumentsInPrompt> chosen;
    for (auto next = chosen.begin(); next != chosen.end(); ++next) {
      *next = popularity_.Draw(random);
      // A document that is there already gives way to the next less popular one that is not.
      while (std::find(chosen.begin(), next, *next) != next) *next = (*next + 1) % kDocuments;
      chain.Append(documents_[*next].text, documents_[*next].tokens);
    }
    return chain;
  }

 private:
  const uint32_t tokens_per_block_;
  const TextId instruction_;
  const Zipf popularity_;
  std::vector<TextPiece> documents_;
};

class RagUser final : public WorkloadUser {
 public:
  explicit RagUser(const RagModel& model) : model_(model) {}

  Request Ask(Random& random, uint64_t new_session) override {
    TokenChain chain = model_.Retrieve(random);
    const TextId question = NewText(random);
    chain.Append(question, kQuestionTokens.DrawTokens(random, kQuestionTokensMax));
    Request request;
    request.input_tokens = static_cast<uint32_t>(chain.tokens());
    request.output_tokens = kAnswerTokens.DrawTokens(random, kAnswerTokensMax);
    request.block_ids = chain.block_ids();
    request.session = new_session;
    return request;
  }

 private:
  const RagModel& model_;
};

std::unique_ptr<WorkloadUser> RagModel::NewUser() const { return std::make_unique<RagUser>(*this); }

}  // namespace

std::unique_ptr<WorkloadModel> MakeRagModel(uint32_t tokens_per_block, Random& random) {
  return std::make_unique<RagModel>(tokens_per_block, random);
}

}  // namespace larder
