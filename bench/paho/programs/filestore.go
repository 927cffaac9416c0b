package main

import (
	"fmt"
	"path/filepath"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// fileStore keeps its session on disk and resumes it.
func fileStore() {
	ch := make(chan string, 100)
	watcher := connect(options("store-watcher"))
	defer watcher.Disconnect(250)
	must(watcher.Subscribe("store/#", 1, into(ch)))
	for run := 0; run < 3; run++ {
		opts := options("store").SetCleanSession(false).SetResumeSubs(true)
		opts.SetStore(mqtt.NewFileStore(filepath.Join(dir, "store")))
		c := connect(opts)
		for i := 0; i < 5; i++ {
			must(c.Publish(fmt.Sprintf("store/%d", run), byte(1+i%2), false, fmt.Sprint(i)))
		}
		c.Disconnect(250)
	}
	all := collect(ch, 15)
	fmt.Println(all[0], all[14], len(ch))
}
