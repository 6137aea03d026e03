// Checks a folder in the C2SP tlog-tiles layout with Go's sumdb packages: note and tlog.
//
// Notes are opened with note.Open. Every hash comes through tlog.TileHashReader, which authenticates
// tiles against the root of a checkpoint; proofs are made and checked by tlog. The two kinds of
// signature that package note does not know (ECDSA and cosignatures) are verified with Go's own
// crypto packages behind note.Verifier.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

type question struct {
	Origin      string `json:"origin"`
	Witness     string `json:"witness"`
	Checkpoints []struct {
		Size int64    `json:"size"`
		File string   `json:"file"`
		Keys []string `json:"keys"`
	} `json:"checkpoints"`
	Inclusion []struct {
		Index int64    `json:"index"`
		Size  int64    `json:"size"`
		Proof []string `json:"proof"`
	} `json:"inclusion"`
	Consistency []struct {
		Old   int64    `json:"old"`
		New   int64    `json:"new"`
		Proof []string `json:"proof"`
	} `json:"consistency"`
}

// refusal is a check that did not hold; anything else that goes wrong is no verdict.
type refusal struct {
	check  string
	detail string
}

func (r refusal) Error() string { return r.check + ": " + r.detail }

func refuse(check string, err error) error { return refusal{check, err.Error()} }

// verifier is a note.Verifier for the signatures that package note does not know.
type verifier struct {
	name   string
	hash   uint32
	verify func(msg, sig []byte) bool
}

func (v verifier) Name() string                { return v.name }
func (v verifier) KeyHash() uint32             { return v.hash }
func (v verifier) Verify(msg, sig []byte) bool { return v.verify(msg, sig) }

func newVerifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	switch key[0] {
	case 2:
		public, err := x509.ParsePKIXPublicKey(key[1:])
		if err != nil {
			return nil, err
		}
		id := sha256.Sum256(key[1:])
		return verifier{parts[0], binary.BigEndian.Uint32(id[:]), func(msg, sig []byte) bool {
			sum := sha256.Sum256(msg)
			return ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), sum[:], sig)
		}}, nil
	case 4:
		id := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
		return verifier{parts[0], binary.BigEndian.Uint32(id[:]), func(msg, sig []byte) bool {
			if len(sig) != 8+ed25519.SignatureSize {
				return false
			}
			head := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(sig))
			return ed25519.Verify(key[1:], append([]byte(head), msg...), sig[8:])
		}}, nil
	}
	return note.NewVerifier(vkey)
}

// openCheckpoint opens a note that all of the keys must have signed.
func openCheckpoint(file, origin string, vkeys []string) (tlog.Tree, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	var known []note.Verifier
	for _, vkey := range vkeys {
		v, err := newVerifier(vkey)
		if err != nil {
			return tlog.Tree{}, err
		}
		known = append(known, v)
	}
	opened, err := note.Open(data, note.VerifierList(known...))
	if err != nil {
		return tlog.Tree{}, refuse("checkpoint", err)
	}
	if len(opened.Sigs) != len(known) {
		return tlog.Tree{}, refusal{"checkpoint", fmt.Sprintf("%d of %d keys have signed", len(opened.Sigs), len(known))}
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != origin {
		return tlog.Tree{}, refusal{"checkpoint", "not a checkpoint of this log"}
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, refuse("checkpoint", err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, refuse("checkpoint", err)
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// tiles is a tlog.TileReader over a folder.
type tiles struct{ folder string }

func (t tiles) Height() int { return tileHeight }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(wanted))
	for i, tile := range wanted {
		data, err := t.read(strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1))
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", tile.Path(), len(data))
		}
		found[i] = data[:tile.W*tlog.HashSize]
	}
	return found, nil
}

// read gives a file; where a partial one is gone, the full one that took its place.
func (t tiles) read(path string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(t.folder, path))
	if errors.Is(err, os.ErrNotExist) {
		if at := strings.Index(path, ".p/"); at >= 0 {
			return os.ReadFile(filepath.Join(t.folder, path[:at]))
		}
	}
	return data, err
}

// entry gives one entry out of its bundle, in the log of the given size.
func (t tiles) entry(index, size int64) ([]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: 0, N: index >> tileHeight, W: 1 << tileHeight}
	if rest := size - tile.N<<tileHeight; rest < 1<<tileHeight {
		tile.W = int(rest)
	}
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", tileHeight), "tile/entries/", 1)
	data, err := t.read(path)
	if err != nil {
		return nil, err
	}
	for at := int64(0); len(data) >= 2; at++ {
		end := 2 + int(binary.BigEndian.Uint16(data))
		if end > len(data) {
			break
		}
		if at == index&(1<<tileHeight-1) {
			return data[2:end], nil
		}
		data = data[end:]
	}
	return nil, fmt.Errorf("%s does not hold entry %d", path, index)
}

func hashes(encoded []string) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(encoded))
	for i, each := range encoded {
		hash, err := tlog.ParseHash(each)
		if err != nil {
			return nil, err
		}
		found[i] = hash
	}
	return found, nil
}

func same(a, b []tlog.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i][:], b[i][:]) {
			return false
		}
	}
	return true
}

func check(folder string, counts map[string]int) error {
	data, err := os.ReadFile(filepath.Join(folder, "question.json"))
	if err != nil {
		return err
	}
	var asked question
	if err := json.Unmarshal(data, &asked); err != nil {
		return err
	}
	store := tiles{folder}
	trees := map[int64]tlog.Tree{}
	for _, each := range asked.Checkpoints {
		tree, err := openCheckpoint(filepath.Join(folder, each.File), asked.Origin, append(each.Keys, asked.Witness))
		if err != nil {
			return err
		}
		root, err := tlog.TreeHash(tree.N, tlog.TileHashReader(tree, store))
		if err != nil {
			return refuse("root", err)
		}
		if root != tree.Hash || tree.N != each.Size {
			return refusal{"root", fmt.Sprintf("not the tree of size %d", each.Size)}
		}
		trees[each.Size] = tree
		counts["checkpoints"]++
	}
	for _, each := range asked.Inclusion {
		tree := trees[each.Size]
		entry, err := store.entry(each.Index, each.Size)
		if err != nil {
			return refuse("inclusion", err)
		}
		made, err := tlog.ProveRecord(tree.N, each.Index, tlog.TileHashReader(tree, store))
		if err != nil {
			return refuse("inclusion", err)
		}
		given, err := hashes(each.Proof)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(given, tree.N, tree.Hash, each.Index, tlog.RecordHash(entry)); err != nil {
			return refuse("inclusion", err)
		}
		if !same(made, given) {
			return refusal{"inclusion", "two proofs of one entry"}
		}
		counts["inclusion"]++
	}
	for _, each := range asked.Consistency {
		before, now := trees[each.Old], trees[each.New]
		made, err := tlog.ProveTree(now.N, before.N, tlog.TileHashReader(now, store))
		if err != nil {
			return refuse("consistency", err)
		}
		given, err := hashes(each.Proof)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(given, now.N, now.Hash, before.N, before.Hash); err != nil {
			return refuse("consistency", err)
		}
		if !same(made, given) {
			return refusal{"consistency", "two proofs of one pair"}
		}
		counts["consistency"]++
	}
	return nil
}

func main() {
	counts := map[string]int{}
	err := check(os.Args[1], counts)
	answer := map[string]interface{}{"checked": counts, "refused": nil}
	var refused refusal
	if errors.As(err, &refused) {
		answer["refused"] = map[string]string{"check": refused.check, "detail": refused.detail}
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		panic(err)
	}
	if answer["refused"] != nil {
		os.Exit(1)
	}
}
