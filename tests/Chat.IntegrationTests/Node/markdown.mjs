// Paints hostile texts of 400,000 characters with the page's own renderer, on the few DOM calls that it makes. What is not linear does not
// come to an end within the test's deadline. Prints the number of texts and whether each kept all its characters that are not markup.
const node = (tag) => ({
  tag, childNodes: [],
  append(...children) { this.childNodes.push(...children); },
  setAttribute() {},
  get lastChild() { return this.childNodes.at(-1); },
  get lastElementChild() { return this.childNodes.findLast((child) => child.tag); },
  get textContent() { return this.childNodes.map((child) => (typeof child === 'string' ? child : child.textContent)).join(''); },
});
globalThis.document = { createElement: node, createTextNode: String };

const { paint } = await import('../../../Chat.Api/wwwroot/js/markdown.js');

const pieces = ['**', '*a ', '_a', '`', '``a`', '[', '[a](', '[]()', '[](', '~~', '\\', '<', '<http://', '> ', '- ', '|', '*_**__', '**a*b', 'http://a ', 'http://', '# ', '1. a\n', ' - a\n', '```\n', '\n\n', '|a|\n|-|\n', '__a__', '~~~', 'word '];
const kept = pieces.map((piece) => {
  const target = node('div');
  const text = `start ${piece.repeat(400_000 / piece.length)} end`;
  paint(target, text);
  return target.textContent.replace(/[^a-z]/g, '').endsWith('end');
});
console.log(JSON.stringify({ texts: kept.length, kept: kept.filter(Boolean).length }));
