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
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/internal/chinese"
	"github.com/mqtt311/mqtt311/packets"
)

// A reach is the connection of the page to the server of the connector. It uses the settings that
// the file had at the start, whatever was saved or applied since, so that a user of the page cannot
// send its credentials to another server, or make it read a file or run a command.
type reach struct {
	cfg  *connector.Config // nil if it could not be read or its secrets could not be located
	veil *veil

	running   *connector.Connector                // nil: none
	consumers map[string]connector.ConsumerParams // as they were at the start
}

func newReach(file string, running *connector.Connector) *reach {
	r := &reach{running: running}
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

// filters returns the topics of all consumers, for a running connector the current ones. Share
// groups are left out, because another member would take messages away from the others.
func (r *reach) filters() []string {
	consumers := r.consumers
	if r.running != nil {
		consumers = r.running.Consumers()
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(consumers)) {
		for _, t := range consumers[name].Topics {
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

// scrub removes the secrets of the file from a text; without a file it removes everything.
func (r *reach) scrub(text string) string {
	if r.veil == nil {
		return ""
	}
	return r.veil.scrub(text)
}

// told returns an error without secrets for the user.
func (r *reach) told(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return &fault{http.StatusBadGateway, r.scrub(err.Error()), r.scrub(chinese.Of(err.Error()))}
}

// both returns an error without secrets, in both languages if it has both.
func (r *reach) both(err error) *text {
	var f *fault
	if errors.As(err, &f) {
		return &text{f.EN, f.ZH}
	}
	t := r.scrub(strings.TrimPrefix(err.Error(), "connector: "))
	return &text{t, t}
}

var errNoConfig = &fault{http.StatusConflict, "The configuration was not there, or had mistakes, when the program started: mend and save it, and start the program again.",
	"程序启动时没有配置，或配置有错误：请修正并保存后重新启动程序。"}

// connect opens a connection with its own client id, a clean session and no Will. It must be closed
// with leave.
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

// leave closes a connection of the page, gracefully if there is time.
func leave(ctx context.Context, c *client.Client) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	c.Close(within)
}
