package ui

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
)

// A reach is how the page gets to the server of the connector: with the connection that FILE had at the start, whatever
// was saved or applied since. Whoever holds the page cannot send its credentials to another server, nor have it read a file or
// run a command.
type reach struct {
	cfg  *connector.Config // nil: it could not be read, or what is secret in it cannot be told
	veil *veil

	mu        sync.Mutex
	consumers map[string]connector.ConsumerParams // as they were at the start, or were applied by the page
}

func newReach(file string) *reach {
	r := new(reach)
	now, err := readState(file)
	if err != nil {
		return r
	}
	v, err := newVeil(now.text)
	if err != nil {
		return r
	}
	if cfg, _, err := config.Load(file); err == nil {
		r.cfg, r.veil, r.consumers = cfg, v, cfg.Consumers
	}
	return r
}

// applied takes over the consumers of a configuration that the running connector has taken.
func (r *reach) applied(cfg *connector.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consumers = cfg.Consumers
}

// filters returns the topics of all consumers. Share groups are left out: a member more would take messages away.
func (r *reach) filters() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.consumers)) {
		for _, t := range r.consumers[name].Topics {
			filter := t.Topic
			if plain, ok := packets.Undecorated(filter); ok {
				filter = plain
			}
			if !slices.Contains(out, filter) {
				out = append(out, filter)
			}
		}
	}
	return out
}

// scrub takes the secrets of FILE out of a text; without FILE it leaves nothing of it.
func (r *reach) scrub(text string) string {
	if r.veil == nil {
		return ""
	}
	return r.veil.scrub(text)
}

// told is an error without secrets.
func (r *reach) told(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{http.StatusBadGateway, r.scrub(err.Error()), r.scrub(chinese.Of(err.Error()))}
}

var errNoConfig = &fault{http.StatusConflict, "The configuration was not there, or had mistakes, when the program started: mend and save it, and start the program again.",
	"程序启动时没有配置，或配置有错误：请修正并保存后重新启动程序。"}

// connect opens a connection under a client id of its own, with a clean session and without a will. It is closed with leave.
func (r *reach) connect(ctx context.Context, change func(*client.Config)) (c *client.Client, id string, err error) {
	if r.cfg == nil {
		return nil, "", errNoConfig
	}
	given, err := r.cfg.ClientConfig()
	if err != nil {
		return nil, "", r.told(err)
	}
	id = given.ClientID + "-page-" + strings.ToLower(rand.Text()[:6])
	cfg := client.Config{
		Dial: given.Dial, Fallbacks: given.Fallbacks, UserName: given.UserName, Password: given.Password, Credentials: given.Credentials,
		KeepAlive: given.KeepAlive, ConnectTimeout: publishTimeout, CleanSession: true, ClientID: id, NoReconnect: true,
	}
	change(&cfg)
	if c, err = client.New(cfg); err != nil {
		return nil, "", r.told(err)
	}
	if err = c.Connect(ctx); err != nil {
		leave(ctx, c)
		return nil, "", r.told(fmt.Errorf("the server cannot be reached: %w", err))
	}
	return c, id, nil
}

// leave closes a connection of the page, in order if there is time.
func leave(ctx context.Context, c *client.Client) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	c.Close(within)
}
