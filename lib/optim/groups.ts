import { ConfigError, checkList, checkOptions, describe, didYouMean } from '../native/errors.ts';
import { Parameter } from '../tensor/tensor.ts';

/** What has parameters with names; every nn.Module has. */
export interface Named {
  namedParameters(): Iterable<[string, Parameter]>;
}

export interface ParamGroupsOptions {
  /** Decay of the weights that decay. */
  weightDecay: number;
  /** More that must not decay: parameters, their names, or the names of modules above them ('head'). */
  noDecay?: readonly (string | Parameter)[];
}

/** A group as `paramGroups` makes it; add `lr` and other options to it as you like. */
export interface DecayGroup {
  params: Parameter[];
  weightDecay: number;
}

/** A model's parameters, and those of them that `entries` name: by themselves, by name, or by the name of a module above. Throws for a name of none. */
export function chosen(where: string, option: string, model: Named, entries: readonly (string | Parameter)[]) {
  if (typeof (model as Named | null)?.namedParameters !== 'function')
    throw new ConfigError(`${where}: expected a module with namedParameters(), got ${describe(model)}`);
  const parameters = new Map<Parameter, string[]>();
  for (const [name, p] of model.namedParameters()) parameters.set(p, [...(parameters.get(p) ?? []), name]);
  const names = [...parameters.values()].flat();
  const named = new Set<Parameter>();
  for (const entry of checkList(where, option, entries)) {
    const found = [...parameters].filter(([p, own]) =>
      entry instanceof Parameter ? p === entry : own.some((n) => n === entry || n.startsWith(`${entry}.`)),
    );
    if (found.length === 0) {
      const right = typeof entry === 'string' ? didYouMean(entry, names) : undefined;
      throw new ConfigError(
        `${where}: ${option} has ${typeof entry === 'string' ? entry : describe(entry)}, which is no parameter of the model. ${right ? `Did you mean "${right}"?` : `It has: ${names.slice(0, 12).join(', ')}${names.length > 12 ? ', ...' : ''}.`}`,
      );
    }
    for (const [p] of found) named.add(p);
  }
  return { all: [...parameters.keys()], named };
}

/**
 * Two groups of a model's parameters: those with two or more dimensions (weights, embeddings) decay, those with fewer (biases, the gains of
 * norms) and those in `noDecay` do not. A tied parameter is counted once; an empty group is left out.
 * @example new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.1 }), { lr: 6e-4 })
 */
export function paramGroups(model: Named, options: ParamGroupsOptions): DecayGroup[] {
  const where = 'paramGroups';
  chosen(where, 'noDecay', model, []);
  checkOptions(where, options, ['weightDecay', 'noDecay']);
  const { weightDecay, noDecay = [] } = options ?? {};
  if (!(typeof weightDecay === 'number' && weightDecay >= 0))
    throw new ConfigError(
      `${where}: weightDecay must be a number >= 0, got ${describe(weightDecay)}. For example { weightDecay: 0.01 }.`,
    );
  const { all, named } = chosen(where, 'noDecay', model, noDecay);
  const decays = (p: Parameter) => p.ndim > 1 && !named.has(p);
  return [
    { params: all.filter(decays), weightDecay },
    { params: all.filter((p) => !decays(p)), weightDecay: 0 },
  ].filter((g) => g.params.length > 0);
}
