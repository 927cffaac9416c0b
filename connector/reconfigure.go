package connector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
)

// Changes are the result of Reconfigure. Settings are named as in findings, for example
// "consumers.in.on_failure.retries"; values are not included.
type Changes struct {
	Applied []string `json:"applied,omitempty"` // changed settings that are now in effect
	Restart []string `json:"restart,omitempty"` // changed settings that need a restart

	Subscribed   []packets.Subscription `json:"-"` // subscriptions requested from the Server
	Unsubscribed []string               `json:"-"` // filters unsubscribed from
}

// Reconfigure applies another configuration to a running connector, without interrupting its
// connection, session or flows.
//
// It returns a [*ConfigError] if cfg is invalid, and an [*Error] of TypeConfig if a flow is
// missing; nothing has changed then. Otherwise settings that can change at once do. Those that need
// a restart keep their values and are listed in Changes.Restart and Health.Restart: General;
// Advanced; Connections; Extension except for AckTimeout, ErrorFormat, TopicCharacters and
// Unmatched; and a ledger or DoneWhenStored if the connector was started without a session store.
//
// The function flows is called for each consumer of cfg and returns its flow; it may use
// [Connector.Producer] for producers that cfg adds. If flows is nil or returns nil, the consumer
// keeps its flow. A new consumer needs a flow or [Pulled]. A consumer that is pulled stays so and
// cannot get a flow.
//
// Filters that are new or have another QoS are subscribed to, and those that no consumer has any
// more are unsubscribed from. Unchanged filters are not subscribed to again, because the Server
// would send their retained messages again. Messages of a removed topic that still arrive are
// processed by its consumer with its former settings, even if the consumer itself was removed.
//
// Runs that have started are not interrupted, but the new failure policy applies to their messages.
// How a message is acknowledged, and whether the ledger keeps it, is decided when it is taken.
// After a change of the order, flows of new messages start only when all earlier messages are
// settled, unless the new order is OrderNone. A [*Producer] uses its new parameters from the next
// message on; a removed producer keeps its parameters.
//
// Reconfigure waits for the Server's answer to SUBSCRIBE until ctx is done or AckTimeout has
// passed. If that fails, it returns an error of TypeSubscribe, and the configuration is in effect
// nevertheless. Filters without an answer are requested again, and refused ones when Reconfigure is
// called again; the connector is not ready until all are granted.
func (c *Connector) Reconfigure(ctx context.Context, cfg Config, flows func(consumer string) flow.Flow) (Changes, error) {
	if err := Errors(cfg.Check()); err != nil {
		return Changes{}, err
	}
	if err := cfg.leased(); err != nil {
		return Changes{}, err
	}
	select {
	case c.reconfiguring <- struct{}{}:
		defer func() { <-c.reconfiguring }()
	case <-ctx.Done():
		return Changes{}, flow.AsError(context.Cause(ctx))
	}
	if err := c.runs("Reconfigure"); err != nil {
		return Changes{}, err
	}
	cfg = cfg.clone()
	before := c.now()
	inForce, changes := merge(before.cfg, cfg)
	next := &setup{cfg: inForce, producers: maps.Clone(before.producers)}
	for name, p := range inForce.Producers {
		if was := next.producers[name]; was == nil || was.over.name != p.Connection { // a removed producer keeps its own
			next.producers[name] = c.newProducer(name, p, &inForce.Extension)
		}
	}
	given, err := c.givenFlows(next, flows)
	if err == nil {
		err = c.install(next, given)
	}
	if err != nil {
		return Changes{}, err
	}
	c.waiting.Store(&changes.Restart)
	err = c.resubscribe(ctx, next, &changes)
	return changes, err
}

// clone returns a deep copy of the maps and lists of cfg.
func (cfg Config) clone() Config {
	cfg.Consumers, cfg.Producers, cfg.Connections = maps.Clone(cfg.Consumers), maps.Clone(cfg.Producers), maps.Clone(cfg.Connections)
	for name, p := range cfg.Consumers {
		p.Topics, p.OnFailure.RetryOn = slices.Clone(p.Topics), slices.Clone(p.OnFailure.RetryOn)
		cfg.Consumers[name] = p
	}
	return cfg
}

// runs returns an error that names call if the connector is not running.
func (c *Connector) runs(call string) error {
	c.trouble.mu.Lock()
	started := c.trouble.started
	c.trouble.mu.Unlock()
	select {
	case <-c.stopping:
		return errStopping
	default:
	}
	if !started {
		return flow.NewError(flow.TypeRuntime, fmt.Errorf("%s comes before Start has returned", call))
	}
	return nil
}

// givenFlows calls flows for each consumer of a setup. Meanwhile the producers of the setup are
// available.
func (c *Connector) givenFlows(next *setup, flows func(string) flow.Flow) (map[string]flow.Flow, error) {
	c.coming.Store(next)
	defer c.coming.Store(nil)
	if name := string(next.cfg.Extension.Unmatched); c.consumer(name) != nil && c.consumer(name).fed {
		return nil, errFedUnmatched(name)
	}
	given := make(map[string]flow.Flow)
	for _, name := range sortedKeys(next.cfg.Consumers) {
		k := c.consumer(name)
		var f flow.Flow
		if flows != nil {
			f = flows(name)
		}
		pulls := f == Pulled
		switch {
		case f == nil && k == nil:
			return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("the new consumer %q has no flow", name))
		case f == nil, pulls && (k == nil || k.pulls):
			continue
		case pulls:
			return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q has a flow and cannot be pulled", name))
		case k != nil && k.pulls:
			return nil, flow.NewError(flow.TypeConfig, fmt.Errorf("consumer %q has a flow now, but is pulled", name))
		}
		if err := flow.Check(f); err != nil {
			return nil, err
		}
		given[name] = f
	}
	return given, nil
}

// consumer returns the consumer with a name, even if it was removed from the configuration.
func (c *Connector) consumer(name string) *consumer {
	c.flows.Lock()
	defer c.flows.Unlock()
	return c.consumers[name]
}

// install puts a setup into effect.
func (c *Connector) install(next *setup, given map[string]flow.Flow) error {
	left, err := c.swap(next, given)
	for _, j := range left {
		j.consumer.leave(j)
	}
	return err
}

// swap does so and returns the jobs that must be left.
func (c *Connector) swap(next *setup, given map[string]flow.Flow) (left []*job, err error) {
	c.flows.Lock()
	defer c.flows.Unlock()
	select {
	case <-c.stopping:
		return nil, errStopping
	default:
	}
	var all []route
	for _, name := range sortedKeys(next.cfg.Consumers) {
		p, k := next.cfg.Consumers[name], c.consumers[name]
		f := given[name]
		if f == nil && k != nil {
			f = k.now().flow
		}
		s := c.newSettings(p, f)
		if k == nil {
			k = c.newConsumer(name, s)
			c.consumers[name] = k
		}
		all = append(all, route{k, s})
		if !k.fed {
			next.routes = append(next.routes, route{k, s})
		}
	}
	if next.keepsLedger() && c.ledger.Load() == nil {
		c.ledger.Store(openLedger(c.conn.client(), time.Now()))
	}
	for _, r := range all {
		left = append(left, r.apply(r.settings)...)
	}
	for name, p := range next.cfg.Producers {
		next.producers[name].apply(p, &next.cfg.Extension)
	}
	next.stray = c.strayRoute(next)
	next.before = c.now().withTopicsBeside(next)
	c.live.Store(next)
	return left, nil
}

// withTopicsBeside returns s and its predecessors, as far as they have topics that neither next nor
// a later one has.
func (s *setup) withTopicsBeside(next *setup) *setup {
	known := make(map[string]bool)
	adds := func(s *setup) (adds bool) {
		for _, r := range s.routes {
			for _, t := range r.settings.params.Topics {
				adds = adds || !known[t.Topic]
				known[t.Topic] = true
			}
		}
		return adds
	}
	adds(next)
	var first *setup
	for last := &first; s != nil; s = s.before {
		if adds(s) {
			*last = &setup{routes: s.routes}
			last = &(*last).before
		}
	}
	return first
}

// resubscribe sends SUBSCRIBE and UNSUBSCRIBE for the changed filters and waits for the Server's
// answer.
func (c *Connector) resubscribe(ctx context.Context, s *setup, changes *Changes) error {
	conn, subs := c.conn.client(), s.subscriptions()
	had := conn.Wanted()
	changes.Unsubscribed = unwanted(had, subs)
	asked, stays := make(map[packets.Subscription]bool), make(map[string]bool)
	for _, sub := range had {
		asked[sub] = true
	}
	for _, sub := range subs {
		if stays[sub.Filter] = asked[sub]; !asked[sub] {
			changes.Subscribed = append(changes.Subscribed, sub)
		}
	}
	c.log.Info("reconfigured", "applied", changes.Applied, "subscribed", len(changes.Subscribed), "unsubscribed", len(changes.Unsubscribed))
	if len(changes.Restart) > 0 {
		c.log.Warn("settings wait for a restart", "settings", changes.Restart)
	}
	c.trouble.forgetRefusals(stays)
	if limit := c.stallLimit(); limit > 0 && len(subs) > 0 {
		c.watching.Do(func() { go c.watch(limit) })
	}
	var r *client.Receipt
	var err error
	if len(changes.Subscribed) > 0 { // subscribe first, so that no message is missed
		if r, err = conn.SubscribeAsync(changes.Subscribed...); err != nil {
			return flow.AsError(err)
		}
	}
	if len(changes.Unsubscribed) > 0 {
		if _, err := conn.UnsubscribeAsync(changes.Unsubscribed...); err != nil {
			return flow.AsError(err)
		}
	}
	if len(changes.Subscribed)+len(changes.Unsubscribed) > 0 && conn.State() == client.Connected {
		c.trouble.mu.Lock()
		c.awaitGrants()
		c.trouble.mu.Unlock()
	}
	err = c.subscribed(ctx, changes.Subscribed, r)
	var refused *client.SubscribeError
	if errors.As(err, &refused) {
		for _, f := range refused.Results {
			var e *client.FilterError
			if errors.As(f.Err, &e) {
				c.trouble.deny(e)
				c.report(flow.AsError(e))
			}
		}
	}
	return err
}

// merge returns the old configuration with those changes of the new one that can be applied, and
// the changes.
func merge(old, next Config) (inForce Config, changes Changes) {
	inForce = old
	differ(reflect.ValueOf(&inForce).Elem(), reflect.ValueOf(next), "", func(path string, field reflect.Value, to reflect.Value) {
		if needsRestart(path) {
			changes.Restart = append(changes.Restart, path)
			return
		}
		changes.Applied = append(changes.Applied, path)
		field.Set(to)
	})
	inForce.Consumers = mergeNamed("consumers", old.Consumers, next.Consumers, &changes)
	inForce.Producers = mergeNamed("producers", old.Producers, next.Producers, &changes)
	withoutConnection(&inForce, &changes)
	withoutStore(&inForce, old, &changes)
	slices.Sort(changes.Applied)
	slices.Sort(changes.Restart)
	changes.Applied, changes.Restart = slices.Compact(changes.Applied), slices.Compact(changes.Restart)
	return inForce, changes
}

// withoutConnection removes producers whose connections do not exist yet.
func withoutConnection(inForce *Config, changes *Changes) {
	for name, p := range inForce.Producers {
		if _, ok := inForce.Connections[p.Connection]; p.Connection != "" && !ok {
			delete(inForce.Producers, name)
			changes.wait("producers." + name)
		}
	}
}

// wait records that a setting needs a restart.
func (c *Changes) wait(path string) {
	c.Applied = slices.DeleteFunc(c.Applied, func(p string) bool { return p == path })
	c.Restart = append(c.Restart, path)
}

// withoutStore reverts settings that need a session store if the connection was started without
// one.
func withoutStore(inForce *Config, old Config, changes *Changes) {
	stores := func(connection string) bool {
		if connection == "" {
			return inForce.Extension.SessionStore != nil
		}
		return inForce.Connections[connection].Extension.SessionStore != nil
	}
	for name, p := range inForce.Consumers {
		if p.Ledger && !stores("") {
			p.Ledger = false
			inForce.Consumers[name] = p
			changes.wait("consumers." + name + ".ledger")
		}
	}
	for name, p := range inForce.Producers {
		if p.DoneWhen == DoneWhenStored && !stores(p.Connection) {
			p.DoneWhen = old.Producers[name].DoneWhen
			inForce.Producers[name] = p
			changes.wait("producers." + name + ".done_when")
		}
	}
}

// mergeNamed merges consumers or producers.
func mergeNamed[P any](kind string, old, next map[string]P, changes *Changes) map[string]P {
	inForce := make(map[string]P)
	for name, p := range next {
		path := kind + "." + name
		was, ok := old[name]
		if !ok {
			changes.Applied = append(changes.Applied, path)
			inForce[name] = p
			continue
		}
		differ(reflect.ValueOf(&was).Elem(), reflect.ValueOf(p), path+".", func(path string, field, to reflect.Value) {
			if needsRestart(kind + ".NAME" + strings.TrimPrefix(path, kind+"."+name)) {
				changes.Restart = append(changes.Restart, path)
				return
			}
			changes.Applied = append(changes.Applied, path)
			field.Set(to)
		})
		inForce[name] = was
	}
	for name := range old {
		if _, ok := next[name]; !ok {
			changes.Applied = append(changes.Applied, kind+"."+name)
		}
	}
	return inForce
}

// differ calls each for the fields in which two structs differ, with the paths of their settings.
// Consumers and producers are skipped.
func differ(a, b reflect.Value, prefix string, each func(path string, a, b reflect.Value)) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		path := prefix + settingOf(f.Name)
		switch x, y := a.Field(i), b.Field(i); {
		case f.Type == reflect.TypeFor[map[string]ConsumerParams]() || f.Type == reflect.TypeFor[map[string]ProducerParams]():
		case f.Type == reflect.TypeFor[General]() || f.Type == reflect.TypeFor[Advanced]() || f.Type == reflect.TypeFor[Extension]():
			differ(x, y, "connector."+path+".", each)
		case f.Type == reflect.TypeFor[OnFailure]():
			differ(x, y, path+".", each)
		case !same(x, y):
			each(path, x, y)
		}
	}
}

// same reports whether two values are equal. An empty list equals a missing one.
func same(a, b reflect.Value) bool {
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// settingOf returns the key of a field.
func settingOf(field string) string {
	switch field {
	case "UserName", "UserNameFrom":
		return "username"
	case "TLSALPN":
		return "tls_alpn"
	case "KeepRetained":
		return "retained"
	}
	if of, ok := strings.CutPrefix(field, "DeadLetter"); ok {
		return "dead_letter." + settingOf(of)
	}
	field = strings.TrimSuffix(field, "From")
	field = strings.NewReplacer("QoS", "Qos", "URLs", "Urls").Replace(field)
	var key strings.Builder
	for i, r := range field {
		upper := func(i int) bool { return i < len(field) && field[i] >= 'A' && field[i] <= 'Z' }
		if i > 0 && upper(i) && (!upper(i-1) || i+1 < len(field) && !upper(i+1)) {
			key.WriteByte('_')
		}
		key.WriteRune(r)
	}
	return strings.ToLower(key.String())
}

// needsRestart reports whether a setting cannot change while the connector runs.
func needsRestart(path string) bool { return !slices.Contains(changeable, path) }

// changeable are the settings that Reconfigure applies. docs/connector.md has them with their tests.
var changeable = []string{
	"connector.extension.ack_timeout", "connector.extension.error_format", "connector.extension.topic_characters", "connector.extension.unmatched",
	"consumers.NAME.topics", "consumers.NAME.qos", "consumers.NAME.share_group", "consumers.NAME.partition", "consumers.NAME.retained",
	"consumers.NAME.ack_mode", "consumers.NAME.ledger", "consumers.NAME.order_by",
	"consumers.NAME.concurrency", "consumers.NAME.max_in_flight", "consumers.NAME.max_in_flight_bytes",
	"consumers.NAME.flow_timeout", "consumers.NAME.mime_type", "consumers.NAME.encoding", "consumers.NAME.extended_attributes", "consumers.NAME.trigger_on_error",
	"consumers.NAME.on_failure.retries", "consumers.NAME.on_failure.initial_delay", "consumers.NAME.on_failure.max_delay", "consumers.NAME.on_failure.retry_on", "consumers.NAME.on_failure.then",
	"consumers.NAME.on_failure.dead_letter.topic", "consumers.NAME.on_failure.dead_letter.file", "consumers.NAME.on_failure.dead_letter.max_oversize", "consumers.NAME.on_failure.dead_letter.meta",
	"producers.NAME.topic", "producers.NAME.payload", "producers.NAME.qos", "producers.NAME.retained", "producers.NAME.topic_characters",
	"producers.NAME.done_when", "producers.NAME.ack_timeout", "producers.NAME.max_in_flight",
}
