package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/mqtt311/mqtt311/connector/flow"
)

// A reloader rereads the configuration of run, and applies it.
type reloader struct {
	o    *runOptions
	p    *Program
	c    *connector.Connector
	cfg  *connector.Config // the configuration with which the command was started
	step step
	show *status
	log  *slog.Logger

	mu    sync.Mutex      // held while a configuration is applied; guards known
	known map[string]bool // consumers that have a flow

	interrupt func()
	hangups   <-chan struct{}
}

// catch keeps SIGHUP from ending the process until stop is called.
func (r *reloader) catch() (stop func()) {
	if r.hangups = r.p.hangup; r.hangups != nil {
		return func() {}
	}
	r.hangups, stop = notifyHangups(r.interrupt)
	return stop
}

// start reloads at every hangup, and when the file has changed, until stop is called.
func (r *reloader) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan struct{})
	var running sync.WaitGroup
	if r.o.watch {
		running.Go(func() { r.o.loaded.watch(ctx, r.o.file, changed) })
	}
	running.Go(func() {
		for {
			select {
			case <-r.hangups:
			case <-changed:
			case <-ctx.Done():
				return
			}
			r.reload(ctx)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// reload applies the file. If it has mistakes, the old configuration stays in force.
func (r *reloader) reload(ctx context.Context) {
	cfg, findings, err := config.Load(r.o.file)
	tell := func(found []connector.Finding) { r.p.tell(r.show, r.log, r.o.file, found) }
	tell(findings)
	if err == nil && (r.o.works || !sameStream(r.cfg, cfg)) {
		err = Usage("a configuration with a stream or leases is applied by a restart", "带有流或租约的配置在重启后生效")
	}
	if err == nil {
		err = r.o.adopt(cfg, tell)
	}
	if err != nil {
		r.refused(err)
		return
	}
	changes, err := r.apply(ctx, cfg)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !errors.Is(err, flow.TypeSubscribe):
		r.refused(err)
		return
	}
	if err != nil {
		r.say(r.p.Say("the configuration is applied, but not every topic is granted", "配置已生效，但未能完成全部订阅"), r.p.text(err))
	}
	if !r.show.on {
		return // the connector logs the rest itself
	}
	list := func(settings []string) string { return strings.Join(settings, ", ") }
	switch {
	case len(changes.Applied) > 0:
		r.say(r.p.Say("applied", "已生效"), list(changes.Applied))
	case len(changes.Restart) == 0:
		r.say(r.p.Say("nothing has changed", "没有变化"), "")
	}
	if len(changes.Restart) > 0 {
		r.say(r.p.Say("not before a restart", "重启后生效"), list(changes.Restart))
	}
}

// apply gives the connector a new configuration. An error of flow.TypeSubscribe is about filters that the server
// has not granted.
func (r *reloader) apply(ctx context.Context, cfg *connector.Config) (connector.Changes, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changes, err := r.c.Reconfigure(ctx, *cfg, r.flow)
	if err != nil && !errors.Is(err, flow.TypeSubscribe) {
		return changes, err
	}
	for name := range cfg.Consumers {
		r.known[name] = true
	}
	r.o.consumers.Store(int64(len(cfg.Consumers)))
	return changes, err
}

// applyPage applies a configuration saved in the browser page.
func (r *reloader) applyPage(ctx context.Context, cfg *connector.Config) (connector.Changes, error) {
	if err := r.o.adopt(cfg, func(found []connector.Finding) { r.p.tell(r.show, r.log, r.o.file, found) }); err != nil {
		return connector.Changes{}, err
	}
	return r.apply(ctx, cfg)
}

// refused reports why a configuration was not applied.
func (r *reloader) refused(err error) {
	why := r.p.text(err)
	var mistakes *connector.ConfigError
	if errors.As(err, &mistakes) { // the mistakes themselves have been printed
		why = fmt.Sprintf(r.p.Say("mistakes in %s", "%s 中有错误"), r.o.file)
	}
	r.say(r.p.Say("the configuration is not applied, the old one goes on", "新配置未生效，继续使用原配置"), why)
}

// say shows a message on a terminal, and otherwise logs it as an error.
func (r *reloader) say(message, what string) {
	switch {
	case !r.show.on:
		r.log.Error(message, "error", what)
	case what == "":
		fmt.Fprintf(r.show, r.p.Say("%s: %s\n", "%s：%s\n"), r.o.file, message)
	default:
		fmt.Fprintf(r.show, r.p.Say("%s: %s: %s\n", "%s：%s：%s\n"), r.o.file, message, what)
	}
}

// flow returns the flow for a consumer that has none yet.
func (r *reloader) flow(consumer string) flow.Flow {
	if r.known[consumer] {
		return nil
	}
	return r.o.flowOf(consumer, r.step, r.c, r.log)
}

// A stamp identifies a state of a file. The zero stamp means that there is no file.
type stamp struct {
	info os.FileInfo
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

func (s stamp) equal(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == o.info
	}
	return os.SameFile(s.info, o.info) && s.info.ModTime().Equal(o.info.ModTime()) && s.info.Size() == o.info.Size()
}

// A watched file is checked every lookEvery, and has changed once it stays different for quietFor.
const (
	lookEvery = 200 * time.Millisecond
	quietFor  = time.Second
)

// watch reports changes since s. A file that is missing for a while does not count as changed.
func (s stamp) watch(ctx context.Context, file string, changed chan<- struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen, since := s, time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := stampOf(file)
		switch {
		case now.info == nil || !now.equal(seen):
			seen, since = now, time.Now()
		case !now.equal(s) && time.Since(since) >= quietFor:
			s = now
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}
}
