# The same words as .ci/run, which calls these targets.

GO ?= go
T ?= 1m
N ?= 100
CONTROL ?= 20
SEED ?= 0
BROKER ?= mosquitto
ACTS ?=
FUZZ = $(shell grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|^\./||; s|/[^/]*:func |/|' | sort)

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

all: check

check: vet staticcheck tidy race portable ## everything that needs no broker

test: ## what the README says
	$(GO) test ./...

# What has its tests of real brokers, processes, disks and many histories in two forms.
THOROUGH = $(addprefix ./,$(sort $(dir $(shell git grep -l '"github.com/mqtt311/mqtt311/internal/thorough"' -- '*_test.go'))))
thorough proofs proofs-long hostile brokers interop: export MQTT311_THOROUGH = 1

thorough: ## the same without a brief form of anything
	CI=true $(GO) test -shuffle=on -vet=off -p 4 -parallel 8 -timeout 30m $(THOROUGH)

# Not the command: its tests are processes, and a broker in the test's own one, whose Close races with
# connections that come at that moment.
race:
	$(GO) test -race -shuffle=on -vet=off -timeout 30m $$($(GO) list ./... | grep -v /connector/internal/command$$)

vet:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...

# staticcheck stands in a module of its own, so that it reaches nobody who imports us.
staticcheck:
	cd tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...
	cd connector/jetstream && ../../bin/staticcheck ./...
	cd bench && ../bin/staticcheck ./...
	cd bench/beside && ../../bin/staticcheck ./...
	cd connector/benthos && ../../bin/staticcheck ./...
	cd release && ../bin/staticcheck ./...
	cd connector/ui/browser && ../../../bin/staticcheck ./...

vuln: ## known weaknesses in what is linked; asks vuln.go.dev
	cd tools && $(GO) build -o ../bin/govulncheck golang.org/x/vuln/cmd/govulncheck
	bin/govulncheck ./...
	for m in connector/jetstream connector/benthos release; do (cd $$m && $(CURDIR)/bin/govulncheck ./...) || exit 1; done

tidy:
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	cd connector/jetstream && $(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff
	cd bench/beside && $(GO) mod tidy -diff
	cd connector/benthos && $(GO) mod tidy -diff
	cd release && $(GO) mod tidy -diff
	cd connector/ui/browser && $(GO) mod tidy -diff

portable: ## other word sizes, byte orders and systems
	.ci/portable

# All of them, of each module; TestEveryFuzzTargetIsRun. Making an input smaller may take a minute, which is more than T.
fuzz: ## each target for T: make fuzz T=10m
	@set -e; for f in $(FUZZ); do echo "== $$f"; (cd "$${f%/*}" && $(GO) test . -run '^$$' -fuzz "^$${f##*/}\$$" -fuzzminimizetime 10x -fuzztime $(T)); done

sim: ## the simulations, of the session and of the client, and the bugs that they must find
	$(GO) test ./fuzz -run 'TestSim|TestMutants' -sim.seeds=100000
	$(GO) test ./fuzz -run 'TestClientSim|TestClientMutants|TestDriverMutants' -sim.seeds=10000

# Test binaries run by themselves, so that progress reaches the terminal. What acts there are:
# -torture.acts in internal/torture. With one seed a history repeats but for the time that processes take.
torture: ## N acts of a nemesis on each BROKER, ACTS as named, then a peer, as a control: make torture BROKER=all N=100
	$(GO) test -c -o bin/torture.test ./internal/torture
	CI=true bin/torture.test -test.v -test.run '^TestTorture$$' -test.timeout 12h -torture.broker=$(BROKER) -torture.n=$(N) -torture.acts=$(ACTS) -torture.seed=$(SEED)
	cd bench && $(GO) test -c -o ../bin/control.test ./torture
	CI=true bin/control.test -test.v -test.timeout 4h -torture.n=$(CONTROL) -torture.seed=$(SEED)

proofs: ## what docs/connector.md promises, on real brokers, with what came of it
	CI=true $(GO) test -count=1 -v -parallel 8 -run TestProof ./internal/proofs

proofs-long: ## the same with up to a million messages and in real durations
	CI=true $(GO) test -count=1 -v -parallel 8 -run TestProof ./internal/proofs -proof.long -timeout 2h

hostile: ## servers that do what a server must not, half a minute each, with what each cost
	CI=true $(GO) test -count=1 -v ./internal/hostile -hostile.long -timeout 2h

benthos: ## the input and output of Benthos, with a small engine that is killed, held and shared
	cd connector/benthos && $(GO) vet ./... && CI=true $(GO) test -count=1 -parallel 8 ./...

benthos-long: ## the same as long as the claims are about, with what came of it
	cd connector/benthos && CI=true $(GO) test -count=1 -v -parallel 8 -timeout 30m ./cmd/mqtt311-benthos -benthos.long

jetstream: ## a stream of NATS JetStream between the Server and the flows, on real servers
	cd connector/jetstream && $(GO) vet ./... && CI=true $(GO) test -count=1 -parallel 4 ./...

jetstream-long: ## the same with 100,000 messages and real durations, with what came of it
	cd connector/jetstream && CI=true $(GO) test -count=1 -v -parallel 1 -timeout 2h . -jetstream.long

bench-jetstream: ## messages of mosquitto into a stream and out of it, beside what each can do alone; draws docs/scale.svg
	cd connector/jetstream && CI=true $(GO) test -run '^$$' -bench 'Gateway/sync=default|Worker' -benchtime 30000x . | tee ../../bin/stream.txt
	cd connector/jetstream && CI=true $(GO) test -run '^$$' -bench 'Gateway/sync=always' -benchtime 3000x . | tee -a ../../bin/stream.txt
	cd bench && $(GO) run . -stream ../bin/stream.txt

FROM ?=
PARTS ?=

nightly: ## the long forms of all of it, some hours; after a failure make nightly FROM=part, or PARTS="part part" alone
	@.ci/nightly $(if $(FROM),from $(FROM),$(PARTS))

release: ## static binaries of each program, packages, images, bills of materials and checksums in dist/
	cd release && $(GO) run . -out ../dist

release-test: ## a release of this machine's system twice, its deb installed, its image run: as root
	cd release && $(GO) vet ./... && CI=true $(GO) test -count=1 ./... -release.install

release-test-long: ## all programs for all systems, twice, with nothing that was built before
	cd release && CI=true $(GO) test -count=1 -v -timeout 2h ./... -release.all

bench: ## beside peers and the limit; results, table and charts go to bench/results
	cd bench && $(GO) run . -out results -readme ../README.md -check
	$(GO) test -run '^$$' -bench . -benchmem ./packets ./session ./client ./client/wal

profile: ## where the time goes: pprof files in bin/profile, the top costs as text
	cd bench && $(GO) run . -profile ../bin/profile

NODE_RED = 4.1.1

beside: ## the connector beside Node-RED and Benthos, which it installs into bin: some minutes, and no part of CI
	mkdir -p bin/node-red
	cd bin/node-red && npm install --prefix . --no-audit --no-fund --silent node-red@$(NODE_RED)
	$(GO) build -C bench/beside -o ../../bin/mqtt311-beside .
	$(GO) build -C connector/benthos -o ../../bin/mqtt311-benthos ./cmd/mqtt311-benthos
	cd bench && MQTT311_NODE_RED=$(CURDIR)/bin/node-red/node_modules/.bin/node-red MQTT311_BESIDE=$(CURDIR)/bin/mqtt311-beside \
		MQTT311_BENTHOS=$(CURDIR)/bin/mqtt311-benthos $(GO) run . -rows beside -check

beside-mosquitto: ## pub, sub and the start of the command, in turn with mosquitto_pub and mosquitto_sub: ratios of medians
	CI=true $(GO) test -count=1 -v -timeout 1h ./connector/internal/command -run '^TestNumbersBesideMosquitto$$' -command.pairs=11

# A broker in JavaScript, for tests. It goes to bin, where no tool of Go looks at it.
aedes: ## install the second broker for the tests
	mkdir -p bin/aedes
	cp internal/aedes/server/* bin/aedes
	cd bin/aedes && npm ci --ignore-scripts --no-audit --no-fund --silent

AXE = 4.14.1

axe: ## install what looks at the page for barriers
	mkdir -p bin/axe
	cd bin/axe && npm install --prefix . --ignore-scripts --no-audit --no-fund --silent axe-core@$(AXE)

browser: axe ## the page of the connector in chromium: apt-get install --no-install-recommends chromium
	cd connector/ui/browser && $(GO) vet ./... && $(GO) test -count=1 ./...

screenshots: axe ## take the pictures of docs/page.md anew
	mkdir -p docs/screenshots
	cd connector/ui/browser && CI=true MQTT311_SCREENSHOTS=$(CURDIR)/docs/screenshots \
		$(GO) test -count=1 -run 'TestConnectorFromNothingInChinese|TestPagesAreAccessible' .

# Another broker, from the same module of its own as staticcheck.
nats: ## install the third broker for the tests
	cd tools && $(GO) build -o ../bin/nats-server github.com/nats-io/nats-server/v2

brokers: ## try every server that the tests have and write docs/brokers.md and docs/zh/brokers.md
	CI=true $(GO) test -count=1 ./connector/internal/doctor -run '^TestBrokers$$' -update
	git diff --stat

interop: ## real brokers: mosquitto over TCP, TLS, WS and WSS, aedes, nats-server
	CI=true $(GO) test -count=1 -run 'Interop' ./...

golden: ## rewrite the outcomes of the conversations; read the diff
	$(GO) test ./session -update
	git diff --stat

cover:
	$(GO) test -coverprofile=bin/cover.out ./packets ./session ./client ./transport/... ./connector/...
	$(GO) tool cover -func=bin/cover.out | tail -n 1
