// Texts compared as the twin's search compares them: without case and without marks.

/** A text without case and marks. */
export const folded = (text: string): string => text.normalize("NFD").replaceAll(/\p{Mn}/gu, "").toLowerCase();

/** A label cut where words of a text stand in it: parts, and whether each is one of them. */
export function marked(label: string, text: string): [part: string, hit: boolean][] {
  // Letter by letter, because folding may change how long a text is.
  const letters = [...label];
  const plain = letters.map(folded);
  const hits = letters.map(() => false);
  const find = (word: string): boolean => {
    for (let start = 0; start < plain.length; start++) {
      let [at, rest] = [start, word];
      while (rest && at < plain.length && rest.startsWith(plain[at] ?? "\0")) {
        rest = rest.slice(plain[at]?.length);
        at += 1;
      }
      if (!rest) {
        hits.fill(true, start, at);
        return true;
      }
    }
    return false;
  };
  const whole = folded(text.trim());
  if (whole && !find(whole)) for (const word of whole.split(/\s+/)) find(word);
  const parts: [string, boolean][] = [];
  for (const [i, letter] of letters.entries()) {
    const hit = hits[i] ?? false;
    const last = parts.at(-1);
    if (last && last[1] === hit) last[0] += letter;
    else parts.push([letter, hit]);
  }
  return parts;
}
