package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safeguard-edge/safeguard/test/hospital"
)

// TestEveryMessageOfTheCorpusIsAnsweredOnce sends messages that others wrote, many
// of them wrong, to the real agent. Behind each goes a good one: what comes back
// before its acknowledgement is the answer to the odd one, of which there must be
// one, or none where the odd one is an acknowledgement itself or asks for none.
func TestEveryMessageOfTheCorpusIsAnsweredOnce(t *testing.T) {
	const corpus = "../../../shared/corpus"
	if _, err := os.Stat(corpus); err != nil {
		t.Logf("left out, as the messages of others are not kept with the project: %v", err)
		return
	}
	w := newWorld(t)
	conn, err := net.Dial("tcp", w.Feed)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	line := hospital.NewLine(conn)
	answered, silent := 0, 0
	err = filepath.WalkDir(corpus, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "README.md" {
			return err
		}
		odd, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("BEHIND%d", answered+silent)
		if err := line.Send(odd); err != nil {
			return err
		}
		if err := line.Send(fmt.Appendf(nil, "MSH|^~\\&|PAS|RX1|||20260101||ADT^A60|%s|P|2.4\rPID|1\r", id)); err != nil {
			return err
		}
		answers := 0
		for {
			ack, err := line.Receive()
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if hospital.Field(ack, "MSA", 2) == id {
				break
			}
			answers++
		}
		switch {
		case answers == 1:
			answered++
		case answers == 0 && (acknowledges(odd) || asksForNone(odd)):
			silent++
		default:
			t.Errorf("%s: %d answers, want one", path, answers)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if answered == 0 {
		t.Error("nothing was answered")
	}
	t.Logf("%d answered once, %d rightly not at all", answered, silent)
}

// acknowledges tells whether the message is itself an acknowledgement, which nobody
// answers.
func acknowledges(message []byte) bool {
	return strings.HasPrefix(hospital.Field(message, "MSH", 9), "ACK") || bytes.Contains(message, []byte("MSA"))
}

// asksForNone tells whether MSH-15 or MSH-16 ask for no acknowledgement of
// success.
func asksForNone(message []byte) bool {
	accept, application := hospital.Field(message, "MSH", 15), hospital.Field(message, "MSH", 16)
	return accept == "NE" || accept == "ER" || application == "NE" || application == "ER"
}
