package benthos

import (
	"context"
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// consumerName is the name of the input's consumer. It is part of idempotency keys and of the
// ledger.
const consumerName = "input"

func inputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Consumes MQTT 3.1.1 topics, and acknowledges a message when it has been delivered.").
		Description("A message that the engine has not delivered when the process dies comes again with the next one: with `qos` 1 or 2 and `clean_session: false` none is lost. "+
			"Messages are acknowledged in the order in which they came, as MQTT wants it, whatever the order in which they are delivered.\n\n"+
			"A message whose delivery fails is handed to the engine again after a pause, or goes where `on_failure` says. "+
			"An error of a processor is no failed delivery for the engine: see `reject_errored`.\n\n"+
			"== Metadata\n\n"+
			"This input adds the following metadata fields to each message:\n\n"+
			"- mqtt_topic\n- mqtt_qos\n- mqtt_retained\n- mqtt_duplicate\n- mqtt_message_id\n- mqtt_idempotency_key\n\n"+
			"`mqtt_idempotency_key` is the same whenever a message is handed over again, and never that of another one; with a `ledger` also after a crash.").
		Fields(connectionFields()...).
		Fields(
			service.NewStringListField(fieldTopics).Description("The Topic Filters to subscribe to.").Example([]string{"plant/+/reading"}),
			service.NewIntField(fieldQoS).Description("The QoS of the subscriptions: 0, 1 or 2. At 0 nothing is acknowledged, and a crash loses what is in hand.").
				Default(1).LintRule(qosRule),
			service.NewBoolField(fieldCleanSession).
				Description("Whether the server forgets the session with the connection, and with it what is not acknowledged. To lose nothing set it to false, and set `client_id`.").
				Default(true),
			service.NewStringField(fieldShareGroup).
				Description("Subscribe to `$share/GROUP/TOPIC`, where the server has shared subscriptions: the members of a group share the messages.").
				Default("").Example("archive"),
			service.NewObjectField(fieldPartition,
				service.NewIntField("index").Description("Which share this process takes, from 0."),
				service.NewIntField("count").Description("How many processes there are."),
				service.NewStringField("key").Description("Messages with one key go to one process: `topic`, or a template of the payload.").Default("topic").Example("${payload.device}"),
			).Description("Take a share of the messages by a hash, where the server has no shared subscriptions. Every process receives all messages, and acknowledges at once those of the others. All of them have to run.").
				Optional().Advanced(),
			service.NewBoolField(fieldOrder).
				Description("Hand over a message only when the one before it on the same topic is settled. Messages of different topics go side by side. A `buffer` of the engine undoes it, because it acknowledges what it has taken.").
				Default(false),
			service.NewIntField(fieldMaxInflight).
				Description("How many messages may be in hand without an acknowledgement. Beyond it the input stops reading, and the server keeps the rest.").
				Default(256).LintRule(atLeast(1)),
			service.NewIntField(fieldBatchSize).
				Description("How many messages are handed over at once at the most: those that are there, without waiting for more. "+
					"Larger batches cost less processor time; the messages of a batch go through processors one after the other.").
				Default(1).LintRule(atLeast(1)),
			service.NewObjectField(fieldOnFailure,
				service.NewIntField("retries").Description("How often a message is handed over again after its delivery failed. -1: without end.").Default(-1).LintRule(atLeast(-1)),
				service.NewDurationField("initial_delay").Description("The longest pause before the first retry; it doubles with each.").Default("200ms"),
				service.NewDurationField("max_delay").Description("The longest pause of all.").Default("30s"),
				service.NewStringAnnotatedEnumField("then", map[string]string{
					"hold":        "hand it over again without end; acknowledgements behind it wait",
					"dead_letter": "put it where `dead_letter` says, then acknowledge it",
					"drop":        "acknowledge it",
					"stop":        "end the input, and with it the pipeline; the server keeps the message",
				}).Description("What becomes of a message whose retries are used up.").Default("hold"),
				service.NewObjectField("dead_letter",
					service.NewStringField("topic").Description("A topic of the same server.").Default(""),
					service.NewStringField("file").Description("A file, to which a line of JSON is appended.").Default(""),
					service.NewBoolField("meta").Description("Whether what is known of the message goes to the topic with `/meta` behind it.").Default(false),
				).Description("Where `then: dead_letter` puts messages: one of both."),
			).Description("What happens to a message whose delivery fails."),
			service.NewObjectField(fieldSessionStore,
				service.NewStringField("dir").Description("A folder for the stores of any number of inputs; each has one of its own in it."),
				service.NewStringEnumField("sync", "always", "interval", "never").Description("When what was written is synced.").Default("always"),
				service.NewBoolField("allow_shared").Description("Accept a folder that others can write to, as volumes of containers are.").Default(false),
			).Description("Keep the session on disk: which messages of QoS 2 were taken, which topics were subscribed, and the ledger.").Optional().Advanced(),
			service.NewBoolField(fieldLedger).
				Description("Note in the session store, synced, that a message is handed over: one that kills the process again and again goes the way of `then`, and messages that were done behind one that was not are not handed over again after a crash.").
				Default(false).Advanced(),
		).
		LintRule(lintRule(
			`if (this.topics | null).type() == "array" && this.topics.length() == 0 { "there is no Topic Filter in topics" } else { deleted() }`,
			`if (this.clean_session | true) == false && (this.client_id | "") == "" { "clean_session: false needs a client_id" } else { deleted() }`,
			`if (this.clean_session | true) == false && (this.dynamic_client_id_suffix | "") != "" { "clean_session: false needs a client id that stays the same: remove dynamic_client_id_suffix" } else { deleted() }`,
			`if (this.share_group | "") != "" && (this.partition | null) != null { "share_group and partition: use one of them" } else { deleted() }`,
			`if (this.ledger | false) && (this.session_store | null) == null { "ledger needs a session_store" } else { deleted() }`,
			`if (this.on_failure.then | "") == "dead_letter" && (this.on_failure.dead_letter.topic | "") == "" && (this.on_failure.dead_letter.file | "") == "" { "then: dead_letter needs a topic or a file in dead_letter" } else { deleted() }`,
			`if (this.partition.index | 0).number(0) < 0 || (this.partition.index | 0).number(0) >= (this.partition.count | 1).number(1) && (this.partition.count | null) != null { "partition.index is 0 to count - 1" } else { deleted() }`,
		)).
		Example("Nothing is lost", "What the pipeline cannot deliver goes to a topic for dead letters after five retries.", `
input:
  mqtt311:
    urls: [ tcp://localhost:1883 ]
    client_id: archive
    clean_session: false
    topics: [ plant/+/reading ]
    on_failure: { retries: 5, then: dead_letter, dead_letter: { topic: dead/archive } }
`)
}

// input reads the fields of the input.
func (r *reader) input() *settings {
	s := new(settings)
	clean := r.yes(fieldCleanSession)
	r.connection(s, clean)
	retries, first, most := r.number(fieldOnFailure, "retries"), r.duration(fieldOnFailure, "initial_delay"), r.duration(fieldOnFailure, "max_delay")
	params := connector.ConsumerParams{
		QoS: r.qos(fieldQoS), ShareGroup: r.text(fieldShareGroup), MaxInFlight: r.number(fieldMaxInflight), Ledger: r.yes(fieldLedger),
		OrderBy: connector.OrderNone,
		OnFailure: connector.OnFailure{
			Retries: &retries, InitialDelay: &first, MaxDelay: &most,
			DeadLetterTopic: r.text(fieldOnFailure, "dead_letter", "topic"),
			DeadLetterFile:  r.text(fieldOnFailure, "dead_letter", "file"),
			DeadLetterMeta:  r.yes(fieldOnFailure, "dead_letter", "meta"),
		},
	}
	then := r.text(fieldOnFailure, "then")
	var err error
	if params.OnFailure.Then, err = connector.ParseDisposition(then); err != nil {
		r.fail(fieldOnFailure+".then", "%w", err)
	}
	for _, t := range read(r, r.p.FieldStringList, fieldTopics) {
		params.Topics = append(params.Topics, connector.TopicQoS{Topic: t})
	}
	if r.yes(fieldOrder) {
		params.OrderBy = connector.OrderTopic
	}
	if retries < -1 {
		r.fail(fieldOnFailure+".retries", "%d is below -1", retries)
	}
	if params.MaxInFlight < 1 {
		r.fail(fieldMaxInflight, "%d is below 1", params.MaxInFlight)
	}
	if r.p.Contains(fieldPartition) {
		params.Partition = &connector.Partition{
			Index: r.number(fieldPartition, "index"), Count: r.number(fieldPartition, "count"), Key: r.text(fieldPartition, "key"),
		}
	}
	if r.p.Contains(fieldSessionStore) {
		s.cfg.Extension.SessionStore = r.store()
	}
	s.cfg.Consumers = map[string]connector.ConsumerParams{consumerName: params}
	return s
}

func (r *reader) store() *connector.SessionStore {
	store := &connector.SessionStore{Dir: r.text(fieldSessionStore, "dir"), AllowShared: r.yes(fieldSessionStore, "allow_shared")}
	var err error
	if store.Sync, err = connector.ParseSync(r.text(fieldSessionStore, "sync")); err != nil {
		r.fail(fieldSessionStore+".sync", "%w", err)
	}
	return store
}

// An input passes the messages of a consumer to Benthos.
type input struct {
	link      link
	batchSize int
	stops     bool // with a message that cannot be delivered
}

func newInput(p *service.ParsedConfig, res *service.Resources) (service.BatchInput, error) {
	r := &reader{p: p}
	s := r.input()
	in := &input{batchSize: r.number(fieldBatchSize)}
	if in.batchSize < 1 {
		r.fail(fieldBatchSize, "%d is below 1", in.batchSize)
	}
	if r.err != nil {
		return nil, r.err
	}
	warnings, err := s.checked()
	if err != nil {
		return nil, err
	}
	s.warn(res.Logger(), warnings)
	in.stops = s.cfg.Consumers[consumerName].OnFailure.Then == connector.Halt
	in.link = link{settings: *s, log: res.Logger(), prepare: func(c *connector.Connector) {
		c.PullBatch(context.Background(), consumerName, in.batchSize) // marks the consumer as pulled before Start
	}}
	return in, nil
}

// Connect connects, or waits until the connection is up again.
func (in *input) Connect(ctx context.Context) error { return in.link.connect(ctx) }

// ReadBatch waits for messages. Messages already received are returned even if the connection is
// lost.
func (in *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	n, lost := in.link.now()
	if n == nil {
		return nil, nil, service.ErrNotConnected
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lost, cancel)()
	for batch, err := range n.PullBatch(wait, consumerName, in.batchSize) {
		if err == nil {
			messages, ack := handOver(batch)
			return messages, ack, nil
		}
		if over := n.Err(); over != nil {
			return nil, nil, in.over(n, over)
		}
		if lost.Err() != nil && ctx.Err() == nil {
			return nil, nil, service.ErrNotConnected
		}
		return nil, nil, err
	}
	return nil, nil, service.ErrNotConnected
}

// over returns the error for the end of a connector.
func (in *input) over(n *line, cause error) error {
	in.link.log.Errorf("The connector has ended: %v", cause)
	if err := in.link.end(n); err != nil {
		in.link.log.Warnf("It did not end in order: %v", err)
	}
	if in.stops {
		return service.ErrEndOfInput
	}
	return service.ErrNotConnected
}

// Close closes the connection. Messages that are not settled stay at the server.
func (in *input) Close(context.Context) error { return in.link.close() }

// handOver returns a batch of Benthos and the function that settles it.
func handOver(batch connector.Batch) (service.MessageBatch, service.AckFunc) {
	messages := make(service.MessageBatch, len(batch))
	for i, d := range batch {
		m := service.NewMessage(d.Payload)
		m.MetaSetMut("mqtt_topic", d.Topic)
		m.MetaSetMut("mqtt_qos", int(d.QoS))
		m.MetaSetMut("mqtt_retained", d.Retained)
		m.MetaSetMut("mqtt_duplicate", d.Dup)
		m.MetaSetMut("mqtt_message_id", int(d.PacketID))
		m.MetaSetMut("mqtt_idempotency_key", d.Key())
		messages[i] = m
	}
	var index *service.Indexer
	if len(batch) > 1 {
		index = messages.Index()
	}
	return messages, func(ctx context.Context, err error) error {
		if err != nil && ctx.Err() != nil {
			return told(batch.Release()) // Benthos is stopping, which is not a failure of the messages
		}
		return told(settle(batch, index, err))
	}
}

// settle settles a batch with the result from Benthos.
func settle(batch connector.Batch, index *service.Indexer, err error) error {
	var each *service.BatchError
	if err == nil || len(batch) == 1 || !errors.As(err, &each) || each.IndexedErrors() == 0 {
		return batch.Settle(err)
	}
	failures, delivered := make([]error, len(batch)), make([]bool, len(batch))
	found := 0
	each.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
		if err != nil {
			found++
			failures[i] = err
		} else {
			delivered[i] = true
		}
		return true
	})
	if found < each.IndexedErrors() {
		return batch.Settle(err) // it is unknown which of them failed
	}
	stale := false
	for i, d := range batch {
		outcome := failures[i]
		if outcome == nil && !delivered[i] {
			outcome = flow.Uncharged(errUnknown)
		}
		stale = d.Settle(outcome) != nil || stale
	}
	if stale {
		return connector.ErrStale
	}
	return nil
}

// errUnknown is the error of a message in a failed batch that the error of Benthos does not
// mention: it may have been filtered out, or have failed with others.
var errUnknown = errors.New("the engine does not say whether the message was delivered")

// told explains an acknowledgement that is too late.
func told(err error) error {
	if errors.Is(err, connector.ErrStale) {
		return fmt.Errorf("settled before, or the server sends it again because its session has ended: %w", err)
	}
	return err
}
