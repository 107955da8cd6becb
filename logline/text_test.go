package logline

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// both returns the same line as slog draws it, and as a Line does.
func both(now time.Time, level slog.Level, message, text string, number int, span time.Duration) (want, got string) {
	var theirs, ours bytes.Buffer
	record := slog.NewRecord(now, level, message, 0)
	record.AddAttrs(slog.String("text", text), slog.Int("number", number), slog.Duration("span", span))
	_ = slog.NewTextHandler(&theirs, nil).Handle(context.Background(), record) // a buffer does not fail
	handler := NewTextHandler(&ours, slog.LevelInfo)
	for range 2 { // with a second that is not known yet, and with one that is
		ours.Reset()
		line := handler.Begin(now, level, message)
		line.Text("text", text)
		line.Int("number", number)
		line.Duration("span", span)
		line.End()
	}
	return theirs.String(), ours.String()
}

func TestLineIsAsSlogDrawsIt(t *testing.T) {
	place := time.FixedZone("here", -(3*3600 + 1800))
	whole := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC)
	for n, now := range []time.Time{whole, whole.Add(999_999_999), whole.Add(7 * time.Millisecond).In(place), whole.Local(), time.Now()} {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelInfo + 2} {
			want, got := both(now, level, "scored", "a b", -n, time.Duration(n)*1234567)
			if got != want {
				t.Errorf("got  %swant %s", got, want)
			}
		}
	}
}

func TestSecondIsDrawnAnewWhenItIsAnother(t *testing.T) {
	var out bytes.Buffer
	h := NewTextHandler(&out, slog.LevelInfo)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{now, now.Add(time.Second), now, now.In(time.FixedZone("", 3600)), now.Add(999 * time.Millisecond)} {
		out.Reset()
		h.Begin(at, slog.LevelInfo, "m").End()
		if want := "time=" + at.Format("2006-01-02T15:04:05.000Z07:00") + " level=INFO msg=m\n"; out.String() != want {
			t.Errorf("got %swant %s", out.String(), want)
		}
	}
}

func TestOtherRecordsGoThroughTheSameHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(NewTextHandler(&out, slog.LevelInfo))
	log.Debug("unseen")
	log.With("a", 1).WithGroup("g").Info("seen", "b", 2)
	if !strings.HasSuffix(out.String(), " level=INFO msg=seen a=1 g.b=2\n") || strings.Contains(out.String(), "unseen") {
		t.Errorf("got %q", out.String())
	}
}

func FuzzLine(f *testing.F) {
	for _, text := range []string{
		"", "plain", "a b", `a"b`, "a=b", `back\slash`, "tab\t", "new\nline", "\x7f", "\x00", "é", "\u2028", "\u00a0", "\xff", "\ufffd", "<&>'`", "日本", "\u200b", "x\xc3",
	} {
		f.Add(text, text, int64(1500), int64(0))
	}
	f.Fuzz(func(t *testing.T, message, text string, span, nanos int64) {
		want, got := both(time.Unix(0, nanos).UTC(), slog.LevelError, message, text, int(span), time.Duration(span))
		if got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	})
}
