// The section types of the model: their order, names, descriptions and colours. Which ones there are, only the model knows.

const N_HUES = 8;
export const NOT_SURE = -1;

export function spell(name) {
  const words = name.replace(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export class SectionTypes {
  /** @param {{name: string, description?: string}[]} list in the model's order */
  constructor(list) {
    this.list = list.map(({ name, description }) => ({ name, label: spell(name), description: description ?? "" }));
  }

  /** The types that an answer speaks of; the model's own list where that fits, for it has descriptions. */
  static of(answer, known) {
    const names = Object.keys(answer.paragraphs[0]?.scores ?? {});
    const fits = known && names.every((name) => known.indexOf(name) >= 0);
    return fits || !names.length ? (known ?? new SectionTypes([])) : new SectionTypes(names.map((name) => ({ name })));
  }

  get length() {
    return this.list.length;
  }

  indexOf(name) {
    return this.list.findIndex((type) => type.name === name);
  }

  label(index) {
    return index === NOT_SURE ? "Not sure" : this.list[index].label;
  }

  /** What the style sheet calls the colour: 1 to 8, again from 1 after that; "none" for not sure. */
  hue(index) {
    return index === NOT_SURE ? "none" : String((index % N_HUES) + 1);
  }
}
