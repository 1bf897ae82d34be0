#include <vector>

#include "tools/workload/distributions.h"
#include "tools/workload/token_chain.h"
#include "tools/workload/workload_model.h"

namespace larder {
namespace {

// "Trace" below is mooncake_conversation, an hour of production chat (kvcache-ai/Mooncake): its
// figures were counted in the file, a turn being a request that extends an earlier one's prompt.

// Prompts of a request: quartiles 2,306, 6,909 and 15,368 tokens, at most 126,195. Most requests
// there begin a conversation, so these are lengths of first messages.
constexpr LogNormal kFirstMessageTokens = {5000, 1.4};
// A prompt grows from turn to turn by 285, 483 and 934 tokens (quartiles; 95%: 7,589), of which the
// answer is 156, 350 and 472 (95%: 698).
constexpr LogNormal kMessageTokens = {130, 1.8};
constexpr LogNormal kAnswerTokens = {350, 0.8};
constexpr uint32_t kAnswerTokensMax = 2048;
// Pauses between turns: quartiles 69, 126 and 267 s, which is a log-normal of this sigma.
constexpr double kGapSigma = 1.0;
constexpr uint32_t kContextTokensMax = 128 << 10;

// Choices. The trace cuts most conversations short (1.4 turns each), which would leave little to
// reuse; all of its prompts share one block, here they share one of a few longer system prompts.
constexpr double kAnotherTurn = 0.75;
constexpr size_t kSystemPrompts = 4;
constexpr double kSystemPromptExponent = 1.0;
constexpr LogNormal kSystemPromptTokens = {1500, 0.5};
constexpr uint32_t kSystemPromptTokensMax = 8192;

class ConversationModel final : public WorkloadModel {
 public:
  ConversationModel(uint32_t tokens_per_block, Random& random)
      : tokens_per_block_(tokens_per_block), popularity_(kSystemPrompts, kSystemPromptExponent) {
    for (size_t i = 0; i < kSystemPrompts; ++i) {
      const TextId text = NewText(random);
      system_prompts_.push_back(
          {text, kSystemPromptTokens.DrawTokens(random, kSystemPromptTokensMax)});
    }
  }

  double gap_sigma() const override { return kGapSigma; }
  std::unique_ptr<WorkloadUser> NewUser() const override;

  // A chain that holds nothing but a system prompt.
  TokenChain Begin(Random& random) const {
    const TextPiece& prompt = system_prompts_[popularity_.Draw(random)];
    TokenChain chain(tokens_per_block_);
    chain.Append(prompt.text, prompt.tokens);
    return chain;
  }

 private:
  const uint32_t tokens_per_block_;
  const Zipf popularity_;
  std::vector<TextPiece> system_prompts_;
};

class ConversationUser final : public WorkloadUser {
 public:
  explicit ConversationUser(const ConversationModel& model) : model_(model), chain_(1) {}

  Request Ask(Random& random, uint64_t new_session) override {
    if (session_ == kNoSession || random.Unit() >= kAnotherTurn ||
        chain_.tokens() >= kContextTokensMax) {
      session_ = new_session;
      chain_ = model_.Begin(random);
      Say(random, kFirstMessageTokens);
    } else {
      Say(random, kMessageTokens);
    }
    Request request;
    request.input_tokens = static_cast<uint32_t>(chain_.tokens());
    request.output_tokens = kAnswerTokens.DrawTokens(random, kAnswerTokensMax);
    request.block_ids = chain_.block_ids();
    request.session = session_;
    chain_.Append(NewText(random), request.output_tokens);
    return request;
  }

 private:
  void Say(Random& random, const LogNormal& length) {
    const TextId text = NewText(random);
    const auto room = static_cast<uint32_t>(kContextTokensMax - chain_.tokens());
    chain_.Append(text, length.DrawTokens(random, room));
  }

  const ConversationModel& model_;
  uint64_t session_ = kNoSession;
  TokenChain chain_;
};

std::unique_ptr<WorkloadUser> ConversationModel::NewUser() const {
  return std::make_unique<ConversationUser>(*this);
}

}  // namespace

std::unique_ptr<WorkloadModel> MakeConversationModel(uint32_t tokens_per_block, Random& random) {
  return std::make_unique<ConversationModel>(tokens_per_block, random);
}

}  // namespace larder
