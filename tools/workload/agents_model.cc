#include <optional>
#include <vector>

#include "tools/workload/distributions.h"
#include "tools/workload/token_chain.h"
#include "tools/workload/workload_model.h"

namespace larder {
namespace {

// "Trace" below is agentic_a, 338 coding-agent sessions (callanjfox/kv-cache-tester); its figures
// were counted in the file.

// Requests a session: median 41, 95% 188.
constexpr LogNormal kTurns = {41, 0.93};
constexpr uint32_t kTurnsMax = 1000;
// Pauses: quartiles 7, 11 and 37 s around a median of 17 s.
constexpr double kGapSigma = 1.0;
// First prompts: median 22,311 tokens, lower quartile 18,568, most of it system prompt and tools.
constexpr size_t kAgentKinds = 3;  // a choice, as the lengths of the two parts are
constexpr LogNormal kSystemPromptTokens = {16'000, 0.2};
constexpr uint32_t kSystemPromptTokensMax = 64'000;
constexpr LogNormal kTaskTokens = {4000, 0.8};
constexpr uint32_t kTaskTokensMax = 64'000;
// A prompt grows from turn to turn by 327, 671 and 1,679 tokens (quartiles), of which the answer is
// 139, 217 and 419; the rest is what the tool said.
constexpr LogNormal kAnswerTokens = {217, 0.82};
constexpr uint32_t kAnswerTokensMax = 8192;
constexpr LogNormal kToolResultTokens = {430, 1.5};
constexpr uint32_t kToolResultTokensMax = 32'000;
// 2.4% of the requests do not extend the one before them but go back to the first 5 to 20% of it:
// here these are sub-agents, which fork off the session's first prompt. How long they run, and that
// the session waits for them, is a choice.
constexpr double kForkChance = 0.024;
constexpr LogNormal kSubAgentTurns = {6, 0.6};
constexpr uint32_t kSubAgentTurnsMax = 50;
// A choice: the longest prompt in the trace has 894,371 tokens, its 95% point is 335,711.
constexpr uint32_t kContextTokensMax = 256 << 10;
// One turn adds at most this much, so a chain that is shorter by as much has room for another.
constexpr uint32_t kTurnTokensMax = kTaskTokensMax + kToolResultTokensMax + kAnswerTokensMax;
static_assert(kSystemPromptTokensMax + kTurnTokensMax < kContextTokensMax);

class AgentsModel final : public WorkloadModel {
 public:
  AgentsModel(uint32_t tokens_per_block, Random& random) : tokens_per_block_(tokens_per_block) {
    for (size_t i = 0; i < kAgentKinds; ++i) {
      const TextId text = NewText(random);
      system_prompts_.push_back(
          {text, kSystemPromptTokens.DrawTokens(random, kSystemPromptTokensMax)});
    }
  }

  double gap_sigma() const override { return kGapSigma; }
  std::unique_ptr<WorkloadUser> NewUser() const override;

  TokenChain Begin(Random& random) const {
    const TextPiece& prompt = system_prompts_[random.Below(system_prompts_.size())];
    TokenChain chain(tokens_per_block_);
    chain.Append(prompt.text, prompt.tokens);
    return chain;
  }

 private:
  const uint32_t tokens_per_block_;
  std::vector<TextPiece> system_prompts_;
};

// An agent or a sub-agent at work.
struct Run {
  TokenChain chain;
  uint32_t turns_left;
};

void AppendNew(Run& run, Random& random, const LogNormal& length, uint32_t tokens_max) {
  const TextId text = NewText(random);
  run.chain.Append(text, length.DrawTokens(random, tokens_max));
}

class AgentUser final : public WorkloadUser {
 public:
  explicit AgentUser(const AgentsModel& model) : model_(model) {}

  Request Ask(Random& random, uint64_t new_session) override {
    EndWhatIsDone(random);
    if (!main_.has_value()) {
      Start(random, new_session);
    } else if (!sub_agent_.has_value() && random.Unit() < kForkChance) {
      sub_agent_ = Run{first_prompt_, kSubAgentTurns.DrawTokens(random, kSubAgentTurnsMax)};
      AppendNew(*sub_agent_, random, kTaskTokens, kTaskTokensMax);
    }
    return Turn(sub_agent_.has_value() ? *sub_agent_ : *main_, random);
  }

 private:
  static bool IsDone(const Run& run) {
    return run.turns_left == 0 || run.chain.tokens() + kTurnTokensMax > kContextTokensMax;
  }

  // A finished sub-agent leaves its report in the main agent's context; a finished session is gone.
  void EndWhatIsDone(Random& random) {
    if (sub_agent_.has_value() && IsDone(*sub_agent_)) {
      sub_agent_.reset();
      AppendNew(*main_, random, kToolResultTokens, kToolResultTokensMax);
    }
    if (!sub_agent_.has_value() && main_.has_value() && IsDone(*main_)) main_.reset();
  }

  void Start(Random& random, uint64_t new_session) {
    session_ = new_session;
    main_ = Run{model_.Begin(random), kTurns.DrawTokens(random, kTurnsMax)};
    AppendNew(*main_, random, kTaskTokens, kTaskTokensMax);
    first_prompt_ = main_->chain;
  }

  // The prompt as it stands; afterwards the answer calls a tool, whose result joins the context.
  Request Turn(Run& run, Random& random) const {
    Request request;
    request.input_tokens = static_cast<uint32_t>(run.chain.tokens());
    request.output_tokens = kAnswerTokens.DrawTokens(random, kAnswerTokensMax);
    request.block_ids = run.chain.block_ids();
    request.session = session_;
    run.chain.Append(NewText(random), request.output_tokens);
    AppendNew(run, random, kToolResultTokens, kToolResultTokensMax);
    --run.turns_left;
    return request;
  }

  const AgentsModel& model_;
  uint64_t session_ = kNoSession;
  std::optional<Run> main_;
  std::optional<Run> sub_agent_;
  TokenChain first_prompt_{1};
};

std::unique_ptr<WorkloadUser> AgentsModel::NewUser() const {
  return std::make_unique<AgentUser>(*this);
}

}  // namespace

std::unique_ptr<WorkloadModel> MakeAgentsModel(uint32_t tokens_per_block, Random& random) {
  return std::make_unique<AgentsModel>(tokens_per_block, random);
}

}  // namespace larder
