package dropfolder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safeguard-edge/safeguard/hl7adapter/feed/feedtest"
)

// The cost of a file: what is done for it besides what the journal does.
func BenchmarkFiles(b *testing.B) {
	c := testConfig(b)
	for i := range b.N {
		if err := os.WriteFile(filepath.Join(c.Folder, fmt.Sprintf("%d.hl7", i)), feedtest.ADT(fmt.Sprint(i)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	begun := time.Now()
	start(b, c, &disk{}, quiet)
	eventually(b, "taken", gone(b, c))
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "files/s")
}

// The cost of a message in a file of many.
func BenchmarkMessages(b *testing.B) {
	for _, named := range []bool{true, false} {
		b.Run(fmt.Sprintf("control ids %v", named), func(b *testing.B) {
			c := testConfig(b)
			var file strings.Builder
			for i := range b.N {
				id := fmt.Sprintf("m%d", i)
				body := string(feedtest.ADT(id))
				if !named {
					body = strings.Replace(body, "|"+id+"|P|", "||P|", 1)
				}
				file.WriteString(body)
			}
			drop(b, c, "a.hl7", file.String())
			b.SetBytes(int64(file.Len() / b.N))
			b.ResetTimer()
			start(b, c, &disk{}, quiet)
			eventually(b, "taken", gone(b, c))
		})
	}
}
