import { nn } from 'anneal';

export const latent = 64;

/** Noise [N, 64] to pictures [N, 784] from -1 to 1. */
export const generator = (): nn.Sequential =>
  new nn.Sequential(
    new nn.Linear(latent, 256),
    new nn.BatchNorm1d(256),
    new nn.ReLU(),
    new nn.Linear(256, 512),
    new nn.BatchNorm1d(512),
    new nn.ReLU(),
    new nn.Linear(512, 784),
    new nn.Tanh(),
  );

/** Pictures [N, 784] to logits [N, 1]: is it real? */
export const discriminator = (): nn.Sequential =>
  new nn.Sequential(
    new nn.Linear(784, 512),
    new nn.LeakyReLU({ slope: 0.2 }),
    new nn.Dropout(0.3),
    new nn.Linear(512, 256),
    new nn.LeakyReLU({ slope: 0.2 }),
    new nn.Dropout(0.3),
    new nn.Linear(256, 1),
  );

/** Tells digits, to judge what the generator makes. */
export const judge = (): nn.Sequential =>
  new nn.Sequential(new nn.Linear(784, 256), new nn.ReLU(), new nn.Dropout(0.2), new nn.Linear(256, 10));
