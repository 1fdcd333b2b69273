package main

import (
	"context"
	"net"
	"time"
)

// distant listens in front of a server and holds up everything in each direction
// for half of roundTrip. It returns where it listens.
func distant(ctx context.Context, server string, roundTrip time.Duration) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			go delay(up, client, roundTrip/2)
			go delay(client, up, roundTrip/2)
		}
	}()
	return l.Addr().String(), nil
}

type piece struct {
	at   time.Time
	text []byte
}

// delay passes everything on, each piece so much later than it came.
func delay(to, from net.Conn, by time.Duration) {
	pieces := make(chan piece, 256)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.text); err != nil {
				_ = from.Close()
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{time.Now().Add(by), buf[:n]}
		}
		if err != nil {
			return
		}
	}
}
